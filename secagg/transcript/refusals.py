"""What hospitals refused, in their own signed words, held against the sums of a transcript.

Knows refusals and recomputed rounds. That a hospital was given a forged sum nobody can compute again: what the
coordinator sends is unsigned, and a sum that was refused is in no log. So it is said who may be lying, and not who is.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from secagg.transcript.audit import EpochAudit, Finding

FORGED_SUM: Final = "forged-sum"


def forged_sums(audits: Iterable[EpochAudit]) -> list[Finding]:
    """Each hospital that refused a sum as forged, with the round that it was in; it says so to all that follows."""
    epochs = list(audits)
    summed = {record.round: (audit.epoch, record.payload_sha256) for audit in epochs for record in audit.rounds}
    told: dict[tuple[str, int], Finding] = {}
    for audit in epochs:
        for refusal in audit.refusals:
            if refusal.reason == FORGED_SUM:
                epoch, digest = summed.get(refusal.round, (audit.epoch, None))
                what = _told(refusal.member, refusal.round, digest is not None)
                told.setdefault((refusal.member, refusal.round), Finding(epoch, refusal.round, FORGED_SUM, what))
    return list(told.values())


def may_be_lying(member: str) -> str:
    """What follows from a hospital's word that it was given a forged sum."""
    return (
        f"Either the coordinator gave {member} another sum than it kept, or a hospital's tag was false, or {member} "
        "says what is not so."
    )


def _told(member: str, number: int, has_sum: bool) -> str:
    when = f", when it was in round {number}," if number else ""
    there = (
        "The sum of that round in the transcript is what the messages add up to."
        if has_sum
        else "The transcript has no sum of that round that could be computed again."
    )
    return f"{member} signed{when} that it was given a forged sum. {there} {may_be_lying(member)}"
