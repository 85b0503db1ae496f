"""How rounds are counted across the epochs of a transcript: which are in none, and which in two.

Knows numbers. Whether a round that is in no epoch gave a sum cannot be told from a transcript: how far an epoch without
a sum went is the coordinator's own word. So each of them is a finding, which says what hospitals signed about it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from secagg.charter import VerifiedCharter
from secagg.transcript.audit import Claim, EpochAudit, Finding
from secagg.transcript.files import AROUND

_MOST_NAMED: Final = 5
_DECIDES: Final = "The number of sums in the release and the logs of the hospitals tell which."
_ON_THEIR_WORD: Final = (
    "An honest coordinator leaves out up to three rounds on such a word; otherwise a file was taken away, or the end "
    f"of one. {_DECIDES}"
)
_ON_NOBODYS: Final = (
    "No claim that a hospital signed explains it: a file was taken away, or the end of one, or the "
    f"coordinator was stopped just as it began a round. {_DECIDES}"
)


def check_numbering(audits: Sequence[EpochAudit], charter: VerifiedCharter) -> list[Finding]:
    """Which rounds are in no epoch, or in two.

    Args:
        audits: in the order of their epochs.
    """
    opened = [audit for audit in audits if audit.epoch != AROUND]
    if not opened:
        return [Finding(0, 0, "incomplete", "The transcript holds no epoch.")]
    unaccounted = [claim for audit in audits for claim in audit.claims if not _is_accounted_for(claim, opened)]
    return [*_gaps(opened, unaccounted, charter), *_duplicates([audit for audit in opened if audit.first_round])]


def _is_accounted_for(claim: Claim, opened: Sequence[EpochAudit]) -> bool:
    """Whether an epoch that the member says it had entered by then, or one before it, has the round that it claims."""
    return any(audit.epoch <= claim.epoch and audit.first_round <= claim.round <= _reached(audit) for audit in opened)


def _reached(audit: EpochAudit) -> int:
    """The last round that an epoch has, or may have where it breaks off."""
    return max(audit.last_round, audit.room_until) if audit.broken_off else audit.last_round


def _gaps(opened: Sequence[EpochAudit], unaccounted: Sequence[Claim], charter: VerifiedCharter) -> Iterator[Finding]:
    known = 0
    for audit in opened:
        if audit.damaged and not audit.first_round:
            known += charter.charter.epoch_rounds
            continue
        if audit.first_round > known + 1:
            first, last = known + 1, audit.first_round - 1
            which = f"Round {first} is" if first == last else f"Rounds {first} to {last} are"
            told = _told(charter, [claim for claim in unaccounted if claim.round >= first])
            what = f"{which} in no epoch of the transcript. {told}"
            yield Finding(audit.epoch, audit.first_round, "missing-round", what)
        known = max(known, _reached(audit))


def _duplicates(opened: Sequence[EpochAudit]) -> Iterator[Finding]:
    """Where a round is in two epochs, one was put in."""
    last = 0
    for audit in opened:
        # Where its set-up failed, an epoch ends before its first round.
        if audit.first_round <= min(last, audit.last_round):
            what = f"Rounds {audit.first_round} to {min(last, audit.last_round)} are in two epochs of the transcript."
            yield Finding(audit.epoch, audit.first_round, "duplicate-round", what)
        last = max(last, audit.last_round)


def _told(charter: VerifiedCharter, claims: Sequence[Claim]) -> str:
    """Who has signed for a round that no epoch has, and what that may mean."""
    newest: dict[int, int] = {}
    for claim in claims:
        newest[claim.member] = max(claim.round, newest.get(claim.member, 0))
    if not newest:
        return _ON_NOBODYS
    named = [
        f"{charter.charter.member(member).name} had signed that it masked or paid for round {number}"
        for member, number in sorted(newest.items())
    ]
    more = f", and {len(named) - _MOST_NAMED} more the like" if len(named) > _MOST_NAMED else ""
    return f"{', '.join(named[:_MOST_NAMED])}{more}. {_ON_THEIR_WORD}"
