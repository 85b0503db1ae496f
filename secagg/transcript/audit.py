"""Running an epoch again from its transcript: every sum recomputed, and whatever does not fit named.

Knows the coordinator's side of the protocol, which it runs once more on the recorded messages. Needs no secret: the
charter with its members' keys is all that is trusted. A coordinator that keeps one transcript and sends another sum is
found by what hospitals noted of the sums they took: `secagg.transcript.comparison`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from secagg.charter import VerifiedCharter
from secagg.charter.state_size import largest_snapshot
from secagg.errors import InputError, ProtocolError, RemoteProtocolError, TamperingError
from secagg.masking import MaskingServer, Purpose, Session
from secagg.masking.journal import Around, Begun, Event, Lost, Opened, Received, Sent, TimedOut, sent
from secagg.masking.limits import payload_limit
from secagg.masking.messages import Refusal
from secagg.masking.noise import NoiseExpansion, refuse_noise, require_expansion
from secagg.masking.states import ServerState
from secagg.processes.worker import WorkerLostError
from secagg.transcript.files import AROUND, epoch_of, read_events, stray_files, transcript_files
from secagg.wire import Envelope, Stage, open_envelope
from secagg.wire.envelope import decode, peek

# Attestations and events' own framing.
_LARGEST_AROUND: Final = 16 * 1024 * 1024


@dataclass(frozen=True)
class Finding:
    """Something in a transcript that does not fit.

    Attributes:
        reason: ``output-differs``, ``impossible``, ``out-of-order``, ``incomplete``, ``transcript-damaged``,
            ``stray-transcript``, ``missing-round`` or ``duplicate-round`` within a transcript; ``other-sum``,
            ``missing-round``, ``not-taken``, ``missing-snapshot`` or ``not-in-its-log`` beside a hospital's log.
        message: one sentence.
    """

    epoch: int
    round: int
    reason: str
    message: str


@dataclass(frozen=True)
class RoundAudit:
    """One round that was run again.

    Attributes:
        survivors: by name; empty if the round gave no sum.
        payload_sha256: of the SUM payload that the messages add up to, hexadecimal; None without a sum.
    """

    round: int
    step: int
    purpose: str
    survivors: tuple[str, ...]
    payload_sha256: str | None


@dataclass(frozen=True)
class RefusalAudit:
    """A hospital that refused, in its own signed words."""

    round: int
    member: str
    reason: str
    message: str


@dataclass
class EpochAudit:
    """What an epoch's transcript shows.

    Attributes:
        refusals: of hospitals, in order.
        received: SHA-256 (hexadecimal) of every message that the protocol allows, by member number.
        snapshots: SHA-256 of the payload of each that members handed one another, by the number of who it is for.
        refused: how many recorded messages it does not allow; the coordinator must have refused them too.
        unfinished: whether it ends in the middle: the coordinator was cut off there, or what follows was taken away.
        damaged: whether it ends where it cannot be read any further.
    """

    epoch: int = 0
    first_round: int = 0
    last_round: int = 0
    rounds: list[RoundAudit] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    refusals: list[RefusalAudit] = field(default_factory=list)
    received: dict[int, set[str]] = field(default_factory=dict)
    snapshots: dict[int, set[str]] = field(default_factory=dict)
    messages: int = 0
    bytes: int = 0
    refused: int = 0
    unfinished: bool = False
    damaged: bool = False


@dataclass(frozen=True)
class TranscriptAudit:
    """What a whole transcript shows, epoch by epoch, and what does not fit between its files."""

    epochs: tuple[EpochAudit, ...]
    misfits: tuple[Finding, ...]

    @property
    def findings(self) -> tuple[Finding, ...]:
        """All that does not fit."""
        return (*(finding for audit in self.epochs for finding in audit.findings), *self.misfits)


def audit_folder(folder: Path, charter: VerifiedCharter, noise: NoiseExpansion = refuse_noise) -> TranscriptAudit:
    """Run every epoch of a transcript again. What cannot be read is a finding; what comes
    before it in a file is judged still, and so are the others.

    Args:
        noise: draws noise as hospitals do, for charters under which some comes off.

    Raises:
        InputError: ``no-transcript``, ``unreadable``, ``other-charter``.
        LocalProtocolError: ``no-noise-expansion``, where ``noise`` is needed and not given; ``worker-lost``.
    """
    audits, misfits = [], [_stray(path) for path in stray_files(folder)]
    for path in transcript_files(folder):
        number = epoch_of(path)
        audit = audit_epoch(read_events(path, _largest_event(charter)), charter, noise)
        audits.append(audit)
        if audit.epoch != number and not (audit.damaged and audit.epoch == AROUND):
            what = f"{path.name} holds epoch {audit.epoch}."
            misfits.append(Finding(number, 0, "out-of-order", what))
    return TranscriptAudit(tuple(audits), (*misfits, *_gaps(audits)))


def _stray(path: Path) -> Finding:
    what = f"{path.name!r} is beside the transcript, and is no name of one of its files: it was not looked at."
    return Finding(0, 0, "stray-transcript", what)


def _gaps(audits: Sequence[EpochAudit]) -> Iterator[Finding]:
    """Rounds are counted across epochs: where some are in none, a transcript was taken away; where one is in two, one
    was put in."""
    opened = [audit for audit in audits if audit.epoch != AROUND]
    if not opened:
        yield Finding(0, 0, "incomplete", "The transcript holds no epoch.")
    last = 0
    for audit in opened:
        if audit.first_round > last + 1:
            what = f"Rounds {last + 1} to {audit.first_round - 1} are in no epoch of the transcript."
            yield Finding(audit.epoch, audit.first_round, "missing-round", what)
        # Where its set-up failed, an epoch ends before its first round.
        if audit.first_round <= min(last, audit.last_round):
            what = f"Rounds {audit.first_round} to {min(last, audit.last_round)} are in two epochs of the transcript."
            yield Finding(audit.epoch, audit.first_round, "duplicate-round", what)
        last = max(last, audit.last_round)


def _largest_event(charter: VerifiedCharter) -> int:
    sessions = [Session(charter, 1, purpose, 1, charter.charter.epoch_rounds) for purpose in Purpose]
    within = max(payload_limit(session, stage) for session in sessions for stage in Stage)
    return _LARGEST_AROUND + max(within, largest_snapshot(charter.charter))


def audit_epoch(events: Iterable[Event], charter: VerifiedCharter, noise: NoiseExpansion = refuse_noise) -> EpochAudit:
    """Run an epoch again, up to where it is damaged, if it is: that is a finding.

    Args:
        noise: draws noise as hospitals do, for charters under which some comes off.

    Raises:
        InputError: ``other-charter``, if the messages are bound to another charter; if the events cannot be read.
        LocalProtocolError: ``no-noise-expansion``, where ``noise`` is needed and not given; ``worker-lost``.
    """
    # Here: in the middle of an epoch it would count against the coordinator.
    require_expansion(Session(charter, 1, Purpose.TRAINING, 1, 1).noise_components, noise)
    replay = _Replay(charter, noise)
    try:
        for event in events:
            if not replay.take(event):
                break
    except TamperingError as error:
        replay.break_off(error)
    return replay.finish()


class _Replay:
    """The coordinator once more. What it sends now must be what it is recorded to have sent."""

    def __init__(self, charter: VerifiedCharter, noise: NoiseExpansion) -> None:
        self._charter = charter
        self._noise = noise
        self._server: MaskingServer | None = None
        self._due: list[Sent] = []
        self._audit = EpochAudit()

    def take(self, event: Event) -> bool:
        """Take the next event; False if nothing after it can be judged."""
        if self._due and not isinstance(event, (Sent, Around)):
            return self._find("incomplete", "a message that was due was not sent, or not recorded")
        try:
            return self._act(event)
        except WorkerLostError:
            raise
        except ProtocolError as error:
            return self._find("impossible", f"the coordinator did what the protocol does not let it do: {error}")

    def break_off(self, error: TamperingError) -> None:
        """What follows cannot be read; what came before stands."""
        self._audit.damaged = True
        number = self._server.round if self._server else 0
        self._audit.findings.append(Finding(self._audit.epoch, number, error.reason, error.message))

    def finish(self) -> EpochAudit:
        audit, server = self._audit, self._server
        if server is not None:
            audit.first_round, audit.last_round = server.session.first_round, server.round
            settled = server.state in (ServerState.READY, ServerState.CLOSED)
            audit.unfinished = not audit.findings and (bool(self._due) or not settled)
        return audit

    def _act(self, event: Event) -> bool:
        if isinstance(event, Around):
            self._note(event)
            return True
        if isinstance(event, Opened):
            return self._open(event)
        if self._server is None:
            return self._find("out-of-order", "something happened before the epoch was opened")
        match event:
            case Begun():
                self._expect(self._server.begin(event.step, event.asked))
            case TimedOut():
                self._expect(self._server.timeout())
            case Lost():
                self._server.lose()
            case Sent():
                return self._check_sent(event)
            case Received():
                self._receive(self._server, event)
        return True

    def _open(self, event: Opened) -> bool:
        if self._server is not None:
            return self._find("out-of-order", "the epoch was opened twice")
        try:
            purpose = Purpose(event.purpose)
        except ValueError:
            return self._find("impossible", f"the epoch is said to sum {event.purpose!r}")
        session = Session(self._charter, event.epoch, purpose, event.first_round, event.rounds)
        self._server = MaskingServer(session, frozenset(event.invited), _refuse_loss, self._noise)
        self._audit.epoch = event.epoch
        self._expect(self._server.open())
        return True

    def _expect(self, outbox: Iterable[tuple[int, bytes]]) -> None:
        self._due += sent(outbox)

    def _check_sent(self, event: Sent) -> bool:
        if peek(event.message).charter != self._charter.digest:
            raise InputError(
                "other-charter",
                "The transcript is that of another charter.",
                culprit=self._charter.charter.name,
                remedy="Give the charter under which the run was.",
            )
        wanted = self._due.pop(0) if self._due else None
        if wanted is None or event.message != wanted.message:
            return self._find("output-differs", f"{_told(event.message)} is not what the messages before it lead to")
        if event.members != wanted.members:
            return self._find("output-differs", f"{_told(event.message)} was sent to other members than it was due to")
        if peek(event.message).stage in (Stage.SUM, Stage.ABORT):
            self._close_round(event.message)
        return True

    def _close_round(self, message: bytes) -> None:
        server = self._server
        if server is None or server.round < server.session.first_round:
            return
        result = server.result
        names = tuple(server.session.name(number) for number in result.survivors.numbers) if result else ()
        payload = open_envelope(message, self._charter, len(message)).payload
        digest = hashlib.sha256(payload).hexdigest() if result else None
        self._audit.rounds.append(RoundAudit(server.round, server.step, server.session.purpose, names, digest))

    def _receive(self, server: MaskingServer, event: Received) -> None:
        try:
            self._expect(server.receive(event.member, event.message))
        except RemoteProtocolError:
            self._audit.refused += 1
        else:
            self._note(event)

    def _note(self, event: Received | Around) -> None:
        """Count a message that is its sender's own. The coordinator does not open what comes too late: here it is."""
        envelope = self._opened(event)
        if envelope is None:
            self._audit.refused += 1
            return
        if envelope.header.stage is Stage.REFUSAL:
            self._note_refusal(envelope)
        if envelope.header.stage is Stage.SNAPSHOT:
            handed = self._audit.snapshots.setdefault(envelope.header.recipient, set())
            handed.add(envelope.header.payload_digest.hex())
        digest = hashlib.sha256(event.message).hexdigest()
        self._audit.received.setdefault(event.member, set()).add(digest)
        self._audit.messages += 1
        self._audit.bytes += len(event.message)

    def _opened(self, event: Received | Around) -> Envelope | None:
        try:
            envelope = open_envelope(event.message, self._charter, len(event.message))
        except RemoteProtocolError:
            return None
        return envelope if envelope.header.sender == event.member else None

    def _note_refusal(self, envelope: Envelope) -> None:
        name = self._charter.charter.member(envelope.header.sender).name
        with suppress(RemoteProtocolError):
            told = decode(envelope.payload, Refusal)
            self._audit.refusals.append(RefusalAudit(envelope.header.round, name, told.reason, told.message))

    def _find(self, reason: str, what: str) -> bool:
        number, epoch = self._server.round if self._server else 0, self._audit.epoch
        self._audit.findings.append(Finding(epoch, number, reason, f"In epoch {epoch}, {what}."))
        return False


def _refuse_loss(event: Event) -> None:
    """A worker that is lost here says nothing of the coordinator."""
    if isinstance(event, Lost):
        raise WorkerLostError(
            "worker-lost",
            "A process that added vectors again has ended or is stuck, so that the transcript cannot be judged.",
            remedy="Run again. Is there enough memory?",
        )


def _told(message: bytes) -> str:
    try:
        header = peek(message)
    except RemoteProtocolError:
        return "a message"
    where = f" of round {header.round}" if header.round else ""
    return f"the {header.stage.name} message{where}"
