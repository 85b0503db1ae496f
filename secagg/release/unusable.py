"""The error for a release that is not what its hospitals signed: whatever does not fit, it is not to be used."""

from __future__ import annotations

from typing import Final

from secagg.errors import TamperingError

_REMEDY: Final = "do not use it; get the release again from a hospital."


def unusable(reason: str, message: str, culprit: str | None) -> TamperingError:
    """The error for what does not fit; ``culprit`` is the file or the hospital."""
    return TamperingError(reason, message, culprit=culprit, remedy=_REMEDY.capitalize())


def of_another_charter(message: str, culprit: str) -> TamperingError:
    """The error for what was made under another charter than it is held against, most likely by mistake."""
    remedy = f"Check it with the charter under which it was made. If this is that charter: {_REMEDY}"
    return TamperingError("other-charter", message, culprit=culprit, remedy=remedy)
