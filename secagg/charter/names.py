"""What members, charters and data sets may be called."""

from __future__ import annotations

import re
from typing import Annotated, Final

import msgspec

from secagg.errors import InputError

_NAME: Final = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z"

Name = Annotated[str, msgspec.Meta(pattern=_NAME)]


def is_name(text: str) -> bool:
    """Whether a charter can hold ``text`` as a name."""
    return re.match(_NAME, text) is not None


def check_name(name: str, whose: str) -> None:
    """Refuse what a charter cannot hold as a name.

    Args:
        whose: what would be called so.

    Raises:
        InputError: ``bad-name``.
    """
    if not is_name(name):
        raise InputError(
            "bad-name",
            f"{name!r} cannot be the name of {whose}.",
            culprit=name,
            remedy="A name has 1 to 64 letters A to Z or a to z, digits, dots, hyphens and underscores, "
            "and begins with a letter or a digit.",
        )
