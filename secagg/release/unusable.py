"""The error for a release that is not what its hospitals signed: whatever does not fit, the remedy is the same."""

from __future__ import annotations

from secagg.errors import TamperingError


def unusable(reason: str, message: str, culprit: str | None) -> TamperingError:
    """The error for what does not fit; ``culprit`` is the file or the hospital."""
    return TamperingError(
        reason, message, culprit=culprit, remedy="Do not use it; get the release again from a hospital."
    )
