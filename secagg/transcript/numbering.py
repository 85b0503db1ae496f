"""How rounds and sums are counted across the epochs of a transcript: which are in none, and which rounds in two.

Knows numbers. Hospitals send nothing for a step before they have taken the sum of the one before it, so that of all
steps up to the last there was a sum. But that a round gave none, how far an epoch without a sum went, and which step a
sum is of are the coordinator's own word: whoever numbers the steps anew leaves no hole in them, and fewer sums than the
release states. So each round that is in no epoch is a finding, too, which says what hospitals signed about it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from secagg.charter import Charter, VerifiedCharter
from secagg.charter.model import STATISTICS_SUMS
from secagg.masking import Purpose
from secagg.transcript.audit import Claim, EpochAudit, Finding, RoundAudit
from secagg.transcript.files import AROUND

_MOST_NAMED: Final = 5
_ON_THEIR_WORD: Final = (
    "An honest coordinator leaves out up to three rounds on such a word; otherwise a file was taken away, or the end "
    "of one."
)
_ON_NOBODYS: Final = (
    "No claim that a hospital signed explains it: a file was taken away, or the end of one, or the "
    "coordinator was stopped just as it began a round."
)
_DECIDES: Final = "The number of sums in the release and the logs of the hospitals tell which."
_NO_SUM: Final = (
    "As the coordinator numbers the sums, none is missing there. The number of sums in the release and the logs of the "
    "hospitals tell whether that is so."
)
_WITH_SUMS: Final = "As sums are missing there, too, a file was taken away or lost, or the end of one."


@dataclass(frozen=True)
class _Hole:
    """Steps of a purpose, ``first`` to ``last``, that have no sum although one was made that builds on them.

    Attributes:
        after: the epoch of the sum before them; 0 if there is none.
        epoch, built: where the sum that builds on them is, and that sum.
    """

    purpose: Purpose
    first: int
    last: int
    after: int
    epoch: int
    built: RoundAudit


def check_numbering(audits: Sequence[EpochAudit], charter: VerifiedCharter) -> list[Finding]:
    """Which rounds are in no epoch, or in two, and which steps have no sum though a later one has.

    Args:
        audits: in the order of their epochs.
    """
    opened = [audit for audit in audits if audit.epoch != AROUND]
    if not opened:
        return [Finding(0, 0, "incomplete", "The transcript holds no epoch.")]
    claims = [claim for audit in audits for claim in audit.claims]
    # Each only once: at every beginning of an epoch all hospitals claim the same.
    accounted = {place for place in {(claim.epoch, claim.round) for claim in claims} if _has(*place, opened)}
    unaccounted = [claim for claim in claims if (claim.epoch, claim.round) not in accounted]
    holes = list(_holes(opened, charter.charter))
    return [
        *_gaps(opened, unaccounted, holes, charter),
        *_duplicates([audit for audit in opened if audit.first_round]),
        *map(_missing_sum, holes),
    ]


def _has(entered: int, number: int, opened: Sequence[EpochAudit]) -> bool:
    """Whether a round that a member claims is in the epoch that it says it had entered by then, or one before it."""
    return any(audit.epoch <= entered and audit.first_round <= number <= _reached(audit) for audit in opened)


def _reached(audit: EpochAudit) -> int:
    """The last round that an epoch has, or may have where it breaks off."""
    return max(audit.last_round, audit.room_until) if audit.broken_off else audit.last_round


def _holes(opened: Sequence[EpochAudit], charter: Charter) -> Iterator[_Hole]:
    """Where a sum is of a later step than is due. As many as epochs that break off have room for are not said to be
    missing.

    One that reached nobody, or too few, is made anew: a step may have several sums.
    """
    reached, after = dict.fromkeys(Purpose, 0), dict.fromkeys(Purpose, 0)
    unread = dict.fromkeys(Purpose, 0)
    for audit in opened:
        for made in audit.rounds:
            if made.payload_sha256 is None:
                continue
            for purpose, steps in _built_on(made, charter):
                known = reached[purpose] + unread[purpose]
                if steps > known:
                    yield _Hole(purpose, known + 1, steps, after[purpose], audit.epoch, made)
                reached[purpose] = max(steps, reached[purpose])
                unread[purpose] = 0
            reached[made.purpose] = max(made.step, reached[made.purpose])
            after[made.purpose] = audit.epoch
        for purpose in Purpose:
            unread[purpose] += audit.unread_rounds(charter)


def _built_on(made: RoundAudit, charter: Charter) -> Iterator[tuple[Purpose, int]]:
    """How many sums of each purpose hospitals must have before they send anything for this one."""
    yield made.purpose, made.step - 1
    if made.purpose is Purpose.TRAINING and charter.statistics.features:
        yield Purpose.STATISTICS, STATISTICS_SUMS


def _missing_sum(hole: _Hole) -> Finding:
    built = hole.built
    one = hole.first == hole.last
    lacking = (
        f"Sum {hole.first} of {hole.purpose} is" if one else f"Sums {hole.first} to {hole.last} of {hole.purpose} are"
    )
    what = (
        f"{lacking} not in the transcript, and yet hospitals took part in sum {built.step} of {built.purpose}, in "
        f"round {built.round}, which they do only once they have all before it. {'It was' if one else 'They were'} "
        "taken away, or lost at the coordinator, as by a power cut or with its folder."
    )
    return Finding(hole.epoch, built.round, "missing-sum", what)


def _of_sums(opened: Sequence[EpochAudit], epoch: int, holes: Iterable[_Hole]) -> str:
    """What the steps of sums say of the rounds that are missing just before an epoch."""
    if any(hole.after < epoch <= hole.epoch for hole in holes):
        return _WITH_SUMS
    later = [made for audit in opened if audit.epoch >= epoch for made in audit.rounds if made.payload_sha256]
    return _NO_SUM if later and not any(audit.broken_off for audit in opened) else _DECIDES


def _gaps(
    opened: Sequence[EpochAudit], unaccounted: Sequence[Claim], holes: Sequence[_Hole], charter: VerifiedCharter
) -> Iterator[Finding]:
    known = 0
    for audit in opened:
        if audit.damaged and not audit.first_round:
            known += charter.charter.epoch_rounds
            continue
        if audit.first_round > known + 1:
            first, last = known + 1, audit.first_round - 1
            which = f"Round {first} is" if first == last else f"Rounds {first} to {last} are"
            told = _told(charter, [claim for claim in unaccounted if claim.round >= first])
            what = f"{which} in no epoch of the transcript. {told} {_of_sums(opened, audit.epoch, holes)}"
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
