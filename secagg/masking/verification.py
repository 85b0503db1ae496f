"""The check of a sum before anything is done with it, and the type that only this check can make.

Knows sums, tags and the key of an epoch's tags. What the check is worth is in `secagg.masking.tags`, and how it holds
for sums that noise was removed from in `secagg.masking.round_tags`.
"""

from __future__ import annotations

from secagg.errors import TamperingError
from secagg.masking.round_tags import round_tag
from secagg.masking.session import RoundSum, Session


class ForgedSumError(TamperingError):
    """A sum that is not that of the hospitals it names. Whoever meets it trains no further under this charter."""


class VerifiedSum:
    """A sum whose tag fits: that of the survivors' own vectors. Made by `verify_sum` and nothing else."""

    def __init__(self, total: RoundSum, *, _by_verifier: object) -> None:
        if _by_verifier is not _VERIFIER:
            raise TypeError("a VerifiedSum is made by verify_sum")
        self.total = total


_VERIFIER = object()


def verify_sum(total: RoundSum, session: Session, epoch_tag_key: bytes) -> VerifiedSum:
    """Check a sum against its tag.

    Args:
        session: the epoch in which it was taken.
        epoch_tag_key: 32 bytes, that epoch's.

    Raises:
        ForgedSumError: ``forged-sum``.
    """
    wanted = round_tag(total.vector, session, epoch_tag_key, total.round, total.model, total.survivors.numbers)
    if wanted != total.tag:
        raise ForgedSumError(
            "forged-sum",
            f"The sum of round {total.round} is not that of the hospitals it names: the check on it fails.",
            culprit="the coordinator",
            remedy="Train no further under this charter, and compare what was kept with the other hospitals: if what "
            "they sent adds up to this sum, a hospital has sent a wrong tag.",
        )
    return VerifiedSum(total, _by_verifier=_VERIFIER)
