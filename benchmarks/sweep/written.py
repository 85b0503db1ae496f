"""Numbers as people read them: three digits, with a unit."""

from __future__ import annotations

import math

NOTHING = "-"


def digits(value: float) -> str:
    """Three significant digits, without an exponent: 0.0123, 1.23, 12.3, 123, 1230."""
    if value == 0:
        return "0"
    places = 2 - math.floor(math.log10(abs(value)))
    return f"{round(value, places):.{max(0, places)}f}"


def milliseconds(seconds: float | None) -> str:
    """In ms, without the unit."""
    return NOTHING if seconds is None else digits(1e3 * seconds)


def megabytes(count: float | None) -> str:
    """In MB, without the unit."""
    return NOTHING if count is None else digits(count / 1e6)


def a_parameter(count: float | None, parameters: int) -> str:
    """Bytes a parameter, two decimals."""
    return NOTHING if not count else f"{count / parameters:.2f}"


def error(value: float | None) -> str:
    """A relative error, two digits and an exponent."""
    return NOTHING if value is None else f"{value:.0e}"


def count(number: int) -> str:
    """1,000,000 as ``1 M``, 100,000 as ``100 k``."""
    for unit, size in (("M", 1_000_000), ("k", 1_000)):
        if number >= size and number % (size // 10) == 0:
            return f"{number / size:g} {unit}"
    return str(number)
