"""Epsilon as people are told it: what is spent or promised never less than it is, what is left never more.

Knows numbers and their decimal places only, and how far two computations of one epsilon may be apart.
"""

from __future__ import annotations

import math
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from typing import Final

# A float has 309 digits before the point at most.
_CONTEXT: Final = Context(prec=400)
_FINE: Final = 10
_MIDDLING: Final = 100
_LARGEST_EXPONENT: Final = 700
# From here on a float has no figures after the point, and people count digits.
_LARGEST_IN_FULL: Final = 1e15
ROUNDING: Final = 1e-6
"""Two computations of one epsilon, on different machines, may be so far apart: a release states it to a millionth."""


def is_covered(epsilon: float, stated: float) -> bool:
    """Whether ``epsilon`` is no more than is stated, but for `ROUNDING`."""
    return epsilon <= stated + ROUNDING


def no_less(value: float, places: int) -> str:
    """``value`` with so many decimal places, rounded up."""
    return f"{_rounded(value, places, ROUND_CEILING)}"


def no_more(value: float, places: int) -> str:
    """``value`` with so many decimal places, rounded down."""
    return f"{_rounded(value, places, ROUND_FLOOR)}"


def exact(value: float) -> str:
    """The shortest decimal that is ``value``: 8.0 as ``8``."""
    return repr(float(value)).removesuffix(".0")


def odds(epsilon: float) -> str:
    """The factor, e to the power of ``epsilon``, by which odds change at most; rounded up."""
    if epsilon > _LARGEST_EXPONENT:
        return f"e to the power of {no_less(epsilon, 2)}"
    factor = math.exp(epsilon)
    if factor >= _LARGEST_IN_FULL:
        return _in_powers_of_ten(factor)
    return f"{_rounded(factor, 2 if factor < _FINE else 1 if factor < _MIDDLING else 0, ROUND_CEILING):,}"


def _in_powers_of_ten(value: float) -> str:
    digits, exponent = f"{Decimal(value).normalize(Context(prec=3, rounding=ROUND_CEILING)):.2e}".split("e+")
    return f"{digits} * 10^{exponent}"


def _rounded(value: float, places: int, rounding: str) -> Decimal | float:
    if not math.isfinite(value):
        return value
    # The decimal that the number is written as: 0.04 is a little above it, and is not to become 0.05.
    return Decimal(repr(float(value))).quantize(Decimal(1).scaleb(-places), rounding, _CONTEXT)
