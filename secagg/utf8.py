"""Where a file that should be UTF-8 is not: people look for a line, and Python's decoder names a byte."""

from __future__ import annotations

from collections.abc import Iterable


def first_undecodable(lines: Iterable[bytes]) -> int | None:
    """The number, from 1, of the first line that is not UTF-8; None if all are."""
    for number, line in enumerate(lines, 1):
        try:
            line.decode()
        except UnicodeDecodeError:
            return number
    return None
