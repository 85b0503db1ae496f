"""What hospitals refused, in their own signed words, held against the sums of a transcript.

Knows refusals and recomputed rounds. That a hospital was given a forged sum nobody can compute again: what the
coordinator sends is unsigned, and a sum that was refused is in no log. So it is said who may be lying, and not who is.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from secagg.transcript.audit import EpochAudit, Finding

FORGED_SUM: Final = "forged-sum"
_MOST_NAMED: Final = 5


def forged_sums(audits: Iterable[EpochAudit]) -> list[Finding]:
    """Each hospital that refused a sum as forged, once, with the first round that it says it of.

    It says so to all that follows, and signs of which round itself: one that lies could sign any number of them.
    """
    epochs = list(audits)
    summed = {record.round: (audit.epoch, record.payload_sha256) for audit in epochs for record in audit.rounds}
    told: dict[str, dict[int, int]] = {}
    for audit in epochs:
        for refusal in audit.refusals:
            if refusal.reason == FORGED_SUM:
                told.setdefault(refusal.member, {}).setdefault(refusal.round, audit.epoch)
    found = []
    for member, rounds in told.items():
        (number, refused_in), *_ = rounds.items()
        epoch, digest = summed.get(number, (refused_in, None))
        found.append(Finding(epoch, number, FORGED_SUM, _told(member, list(rounds), digest is not None)))
    return found


def may_be_lying(member: str) -> str:
    """What follows from a hospital's word that it was given a forged sum."""
    return (
        f"Either the coordinator gave {member} another sum than it kept, or a hospital's tag was false, or {member} "
        "says what is not so."
    )


def _told(member: str, rounds: list[int], has_sum: bool) -> str:
    number, *others = rounds
    when = f", when it was in round {number}," if number else ""
    there = (
        "The sum of that round in the transcript is what the messages add up to."
        if has_sum
        else "The transcript has no sum of that round that could be computed again."
    )
    return f"{member} signed{when} that it was given a forged sum. {there}{_also(others)} {may_be_lying(member)}"


def _also(rounds: list[int]) -> str:
    if not rounds:
        return ""
    listed = ", ".join(map(str, rounds[:_MOST_NAMED]))
    more = f" and {len(rounds) - _MOST_NAMED} more" if len(rounds) > _MOST_NAMED else ""
    return f" It signed the same again with other round numbers: {listed}{more}."
