"""A transcript compared with a hospital's own log: what was given out, and what was taken and sent.

Knows recomputed sums and egress entries. A coordinator that colludes with a hospital can give another one a sum that
was never taken, with a tag that fits; what it cannot do is keep that out of the log of whoever took it.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from secagg.charter import VerifiedCharter
from secagg.egress import Direction, EgressEntry
from secagg.transcript.audit import EpochAudit, Finding, RoundAudit
from secagg.transcript.files import AROUND


@dataclass(frozen=True)
class HospitalRecord:
    """What a hospital's own log says.

    Attributes:
        sent: SHA-256 (32 bytes) of every message it sent under the charter.
        taken: every sum and every snapshot that it took under it, in order.
    """

    number: int
    name: str
    sent: frozenset[bytes]
    taken: tuple[EgressEntry, ...]

    @classmethod
    def read(cls, name: str, charter: VerifiedCharter, entries: Iterable[EgressEntry]) -> HospitalRecord:
        """What a member's log says of one charter.

        Raises:
            InputError: ``unknown-member``.
        """
        own = [entry for entry in entries if entry.charter == charter.digest.hex()]
        sent = [entry for entry in own if entry.direction is Direction.SENT]
        return cls(
            charter.charter.number_of(name),
            name,
            frozenset(bytes.fromhex(entry.sha256) for entry in sent),
            tuple(entry for entry in own if entry.direction is Direction.TOOK),
        )


def compare_all(audits: Sequence[EpochAudit], hospitals: Sequence[HospitalRecord]) -> list[Finding]:
    """What does not fit between a transcript, in which they were heard, and hospitals' logs, or between these."""
    return [
        *(finding for hospital in hospitals for finding in compare(audits, hospital)),
        *_contradictions(hospitals),
    ]


def _contradictions(hospitals: Sequence[HospitalRecord]) -> Iterator[Finding]:
    """Rounds in which two hospitals took different sums, whatever the transcript has of them."""
    taken: defaultdict[tuple[int, int], dict[str, set[str]]] = defaultdict(dict)
    for hospital in hospitals:
        for entry in hospital.taken:
            if entry.took_sum:
                taken[entry.epoch, entry.round].setdefault(hospital.name, set()).add(entry.sha256)
    for (epoch, number), sums in sorted(taken.items()):
        names = list(sums)
        if len(names) > 1 and len(set[str]().union(*sums.values())) > 1:
            what = f"{', '.join(names[:-1])} and {names[-1]} took different sums in round {number}, which can have one."
            yield Finding(epoch, number, "other-sum", what)


def compare(audits: Sequence[EpochAudit], hospital: HospitalRecord) -> list[Finding]:
    """What does not fit between a transcript and a hospital's own log.

    Messages that the hospital sent and the transcript lacks are no finding: they may have been lost on the way. Nor are
    sums after the last that it took: it may have been away. Where an epoch breaks off, what follows in it may be what
    the hospital took. Where the log lacks the last messages of the transcript, `lacks_the_end` says so.

    Args:
        audits: in which this hospital was heard.
    """
    return [
        *_other_sums(audits, hospital),
        *_passed_over(audits, hospital),
        *_other_snapshots(audits, hospital),
        *_strangers(audits, hospital),
    ]


def _other_sums(audits: Sequence[EpochAudit], hospital: HospitalRecord) -> Iterator[Finding]:
    rounds = {record.round: (audit.epoch, record) for audit in audits for record in audit.rounds}
    # Each of them: a round in which two different ones were taken has one that is not the true one.
    taken = {(entry.round, entry.sha256): entry for entry in hospital.taken if entry.took_sum}
    unread: Counter[tuple[int, int]] = Counter()
    for (number, digest), entry in sorted(taken.items(), key=lambda found: found[0]):
        epoch, record = rounds.get(number, (0, None))
        if record is None and _may_follow_a_break(audits, entry):
            unread[entry.epoch, number] += 1
        elif record is None or record.payload_sha256 is None:
            what = f"{hospital.name} took a sum in round {number}, of which the transcript knows none."
            yield Finding(epoch, number, "missing-round", what)
        elif record.payload_sha256 != digest:
            what = f"{hospital.name} took another sum in round {number} than the messages add up to."
            yield Finding(epoch, number, "other-sum", what)
    for (epoch, number), sums in unread.items():
        if sums > 1:
            what = f"{hospital.name} took {sums} different sums in round {number}, which can have one only."
            yield Finding(epoch, number, "other-sum", what)


def _may_follow_a_break(audits: Iterable[EpochAudit], entry: EgressEntry) -> bool:
    """Whether the epoch that a sum was taken in breaks off before its round, and had room for it."""
    return any(
        audit.broken_off
        and audit.epoch == entry.epoch
        and (not audit.first_round or audit.last_closed < entry.round <= audit.room_until)
        for audit in audits
    )


def _passed_over(audits: Sequence[EpochAudit], hospital: HospitalRecord) -> Iterator[Finding]:
    """Sums that it never took though it took later ones, and was handed nothing in between that could hold them."""
    due = _sums_that_stand(audits)
    rounds = [record.round for _, record in due]
    reached, handed = 0, False
    for entry in hospital.taken:
        if entry.took_snapshot:
            handed = True
            continue
        missed = [] if handed else due[bisect_right(rounds, reached) : bisect_left(rounds, entry.round)]
        if missed and _may_follow_a_break(audits, entry):
            # The last may have been summed anew: this one may be it.
            missed = missed[:-1]
        for epoch, record in missed:
            what = f"{hospital.name} never took the sum of round {record.round}, and yet a later one."
            yield Finding(epoch, record.round, "not-taken", what)
        reached, handed = max(reached, entry.round), False


def _sums_that_stand(audits: Sequence[EpochAudit]) -> list[tuple[int, RoundAudit]]:
    """The sums of a transcript, with their epochs; of a step that was summed anew, the last."""
    sums = {
        (record.purpose, record.step): (audit.epoch, record)
        for audit in audits
        for record in audit.rounds
        if record.payload_sha256
    }
    return sorted(sums.values(), key=lambda found: found[1].round)


def _other_snapshots(audits: Sequence[EpochAudit], hospital: HospitalRecord) -> Iterator[Finding]:
    if any(audit.damaged for audit in audits if audit.epoch == AROUND):
        return
    handed = {digest for audit in audits for digest in audit.snapshots.get(hospital.number, ())}
    taken = {entry.sha256 for entry in hospital.taken if entry.took_snapshot}
    if taken - handed:
        what = f"{hospital.name} took {len(taken - handed)} snapshots that nobody handed it by the transcript."
        yield Finding(0, 0, "missing-snapshot", what)


def lacks_the_end(audits: Sequence[EpochAudit], hospital: HospitalRecord) -> bool:
    """Whether a log lacks a hospital's last messages in a transcript: they are later than it, or were left out of it.

    Args:
        audits: in which this hospital was heard.
    """
    return bool(_not_in_its_log(audits, hospital)[1])


def _strangers(audits: Sequence[EpochAudit], hospital: HospitalRecord) -> Iterator[Finding]:
    between, _ = _not_in_its_log(audits, hospital)
    for epoch, messages in sorted(between.items()):
        what = (
            f"{messages} messages of {hospital.name} in epoch {epoch} are not in its own log, and others are that the "
            "transcript has after them."
        )
        yield Finding(epoch, 0, "not-in-its-log", what)


def _not_in_its_log(audits: Sequence[EpochAudit], hospital: HospitalRecord) -> tuple[Counter[int], Counter[int]]:
    """How many messages of each epoch its log lacks: where it goes on after them, and where nothing shows that it does.

    What is exchanged around epochs may be the same once more, so that its order shows nothing. That the log has the
    hospital's word on the finished model shows nothing either: it still answers after that, if only with refusals.
    """
    between, last = Counter[int](), Counter[int]()
    for audit in sorted((audit for audit in audits if audit.epoch != AROUND), key=lambda audit: audit.epoch):
        for digest in audit.received[hospital.number]:
            if digest not in hospital.sent:
                last[audit.epoch] += 1
            elif last:
                between, last = between + last, Counter()
    around = (audit.received[hospital.number] for audit in audits if audit.epoch == AROUND)
    last[AROUND] = len(set[bytes]().union(*around) - hospital.sent)
    return between, +last
