"""How rounds are counted across the epochs of a transcript: which are in none, and which never were.

Knows numbers. An epoch has room for the rounds that it was opened for, and hospitals sign for that when they deal. They
enter each number of an epoch once, and go back to none before it; nor, once they have masked, to a round before. So
there is no sum of a round that no epoch had room for: too few can have been in it. Of any other that lacks, a file or
the end of one was taken away, or its number was used up by a coordinator that stopped before it began.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from secagg.charter import VerifiedCharter
from secagg.transcript.audit import Claim, EpochAudit, Finding
from secagg.transcript.files import AROUND

_ANY: Final = sys.maxsize
_MOST_NAMED: Final = 5


@dataclass(frozen=True)
class Skipped:
    """Rounds ``first`` to ``last``, of which there can be no sum. ``message`` says whose word may have led to it."""

    first: int
    last: int
    message: str


@dataclass
class Numbering:
    """What was found."""

    misfits: list[Finding] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)


def check_numbering(audits: Sequence[EpochAudit], charter: VerifiedCharter) -> Numbering:
    """Which rounds are in no epoch, or in two.

    Args:
        audits: in the order of their epochs.
    """
    found = Numbering()
    opened = [audit for audit in audits if audit.epoch != AROUND]
    if not opened:
        found.misfits.append(Finding(0, 0, "incomplete", "The transcript holds no epoch."))
    claims = [claim for audit in audits for claim in audit.claims]
    # The last round that is accounted for, the last that the epochs so far had room for, and the epoch before.
    known, room, before = 0, 0, 0
    for audit in opened:
        if audit.epoch > before + 1:
            room = _ANY
        before = audit.epoch
        if audit.damaged and not audit.first_round:
            known, room = known + charter.charter.epoch_rounds, _ANY
            continue
        told = _told(charter, [claim for claim in claims if claim.epoch < audit.epoch and claim.round > known])
        lacking = min(room, audit.first_round - 1)
        if lacking > known:
            what = f"{_rounds(known + 1, lacking)} in no epoch of the transcript.{told}"
            found.misfits.append(Finding(audit.epoch, audit.first_round, "missing-round", what))
            known = lacking
        # Of an epoch without a round, no hospital need have signed how it was opened.
        begun = audit.last_round >= audit.first_round
        if begun and audit.first_round > known + 1:
            which = _rounds(known + 1, audit.first_round - 1)
            what = f"{which} in no epoch of the transcript, and none had room for a sum there.{told}"
            found.skipped.append(Skipped(known + 1, audit.first_round - 1, what))
        room = audit.room_until if begun else _ANY
        known = max(known, audit.room_until if audit.broken_off else audit.last_round if begun else 0)
    found.misfits += _duplicates([audit for audit in opened if audit.first_round])
    return found


def _duplicates(opened: Sequence[EpochAudit]) -> Iterator[Finding]:
    """Where a round is in two epochs, one was put in."""
    last = 0
    for audit in opened:
        # Where its set-up failed, an epoch ends before its first round.
        if audit.first_round <= min(last, audit.last_round):
            what = f"Rounds {audit.first_round} to {min(last, audit.last_round)} are in two epochs of the transcript."
            yield Finding(audit.epoch, audit.first_round, "duplicate-round", what)
        last = max(last, audit.last_round)


def _rounds(first: int, last: int) -> str:
    return f"Round {first} is" if first == last else f"Rounds {first} to {last} are"


def _told(charter: VerifiedCharter, claims: Sequence[Claim]) -> str:
    """Who has signed that it masked a round which no epoch before has."""
    newest: dict[int, int] = {}
    for claim in claims:
        newest[claim.member] = max(claim.round, newest.get(claim.member, 0))
    if not newest:
        return ""
    named = [
        f"{charter.charter.member(member).name} had signed that it masked for round {number}"
        for member, number in sorted(newest.items())
    ]
    more = f", and {len(named) - _MOST_NAMED} more the like" if len(named) > _MOST_NAMED else ""
    return f" By then {', '.join(named[:_MOST_NAMED])}{more}."
