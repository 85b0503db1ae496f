"""Text of others, before it is shown: a terminal must not act on it, and a reader must see all of it."""

from __future__ import annotations

import unicodedata
from typing import Final

_ACTS_OR_HIDES: Final = frozenset({"Cc", "Cf", "Zl", "Zp"})


def printable(text: str) -> str:
    """``text`` with U+FFFD for each control, format or line-separating character (categories Cc, Cf, Zl and Zp of the
    Unicode Standard)."""
    return "".join(
        "\N{REPLACEMENT CHARACTER}" if unicodedata.category(sign) in _ACTS_OR_HIDES else sign for sign in text
    )
