"""Texts of others in markdown, in which nothing of theirs becomes markup. Knows CommonMark, and no model."""

from __future__ import annotations

import re
from typing import Final

_MARKUP: Final = frozenset("|`<>[]*\\&")


def code(value: str) -> str:
    """A value as code, in which nothing is markup and an entity would be read as it is written (CommonMark 6.1)."""
    plain = " ".join(value.split()) or " "
    fence = "`" * (1 + max(map(len, re.findall("`+", plain)), default=0))
    space = " " if "`" in (plain[0], plain[-1]) else ""
    return f"{fence}{space}{plain}{space}{fence}"


def text(value: str) -> str:
    """A value that cannot become markup: names of columns are anybody's text."""
    plain = " ".join(value.split())
    return "".join(f"&#{ord(character)};" if character in _MARKUP else character for character in plain)
