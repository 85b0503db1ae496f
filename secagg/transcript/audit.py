"""Running an epoch again from its transcript: every sum recomputed, and whatever does not fit named.

Knows the coordinator's side of the protocol, which it runs once more on the recorded messages. Needs no secret: the
charter with its members' keys is all that is trusted. A coordinator that keeps one transcript and sends another sum is
found by what hospitals noted of the sums they took: `secagg.transcript.comparison`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

import msgspec

from secagg.charter import Charter, VerifiedCharter
from secagg.errors import ProtocolError, RemoteProtocolError, TamperingError
from secagg.masking import MaskingServer, Purpose, Session
from secagg.masking.journal import Around, Begun, Event, Lost, Opened, Received, Sent, TimedOut, sent
from secagg.masking.messages import Refusal
from secagg.masking.noise import NoiseExpansion, refuse_noise, require_expansion
from secagg.masking.server_gate import is_acknowledgement
from secagg.masking.states import ServerState
from secagg.processes.worker import WorkerLostError
from secagg.wire import Envelope, Stage, open_envelope
from secagg.wire.envelope import Counter, decode, peek

OTHER_CHARTER: Final = "other-charter"


@dataclass(frozen=True)
class Finding:
    """Something in a transcript that does not fit.

    Attributes:
        reason: ``output-differs``, ``impossible``, ``other-charter``, ``refused-acknowledgement``, ``out-of-order``,
            ``incomplete``, ``transcript-damaged``, ``stray-transcript``, ``missing-round``, ``missing-sum`` or
            ``duplicate-round`` within a transcript;
            ``other-sum``, ``missing-round``, ``not-taken``, ``missing-snapshot`` or ``not-in-its-log`` beside a
            hospital's log; ``forged-sum`` by a hospital's signed word.
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
    purpose: Purpose
    survivors: tuple[str, ...]
    payload_sha256: str | None


@dataclass(frozen=True)
class RefusalAudit:
    """A hospital that refused, in its own signed words."""

    round: int
    member: str
    reason: str
    message: str


@dataclass(frozen=True)
class Claim:
    """What a member has signed: the newest round that it masked or paid for, and the newest epoch that it entered."""

    member: int
    epoch: int
    round: int


class _Claimed(msgspec.Struct, array_like=True, frozen=True):
    """How a STATUS begins."""

    epoch: Counter
    round: Counter


@dataclass
class EpochAudit:
    """What an epoch's transcript shows.

    Attributes:
        room_until: the last round that the epoch was opened for, begun or not; not more than the charter lets it have.
        claims: what members' STATUS say of the rounds that they have masked or paid for, in order.
        refusals: of hospitals, in order.
        received: SHA-256 (32 bytes) of every message that the protocol allows, by the number of a member that is heard;
            in the order in which they came.
        snapshots: SHA-256 of the payload of each that members handed one another, by the number of who it is for.
        refused: how many recorded messages it does not allow; the coordinator must have refused them too.
        unfinished: whether it ends in the middle: the coordinator was cut off there, or what follows was taken away.
        damaged: whether it ends where it cannot be read any further.
    """

    epoch: int = 0
    first_round: int = 0
    last_round: int = 0
    room_until: int = 0
    claims: list[Claim] = field(default_factory=list)
    rounds: list[RoundAudit] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    refusals: list[RefusalAudit] = field(default_factory=list)
    received: dict[int, dict[bytes, None]] = field(default_factory=dict)
    snapshots: dict[int, set[str]] = field(default_factory=dict)
    messages: int = 0
    bytes: int = 0
    refused: int = 0
    unfinished: bool = False
    damaged: bool = False

    @property
    def is_of_another_charter(self) -> bool:
        """Whether already what the coordinator sent first is bound to another charter."""
        return not self.messages and any(found.reason == OTHER_CHARTER for found in self.findings)

    @property
    def broken_off(self) -> bool:
        """Whether there is more of it than could be judged."""
        return self.damaged or bool(self.findings)

    @property
    def last_closed(self) -> int:
        """The last round that is known to have ended, with a sum or without; 0 if none has."""
        return self.rounds[-1].round if self.rounds else 0

    def unread_rounds(self, charter: Charter) -> int:
        """How many rounds it may have had beyond those that are known to have ended; none unless it breaks off."""
        if not self.broken_off:
            return 0
        if not self.first_round:
            return charter.epoch_rounds
        return max(0, self.room_until - max(self.last_closed, self.first_round - 1))


def audit_epoch(
    events: Iterable[Event],
    charter: VerifiedCharter,
    noise: NoiseExpansion = refuse_noise,
    heard: Collection[int] = (),
) -> EpochAudit:
    """Run an epoch again, up to where it is damaged, if it is: that is a finding.

    Args:
        noise: draws noise as hospitals do, for charters under which some is removed.
        heard: members whose messages are to be compared with their logs: only theirs are kept in mind.

    Raises:
        InputError: if the events cannot be read.
        LocalProtocolError: ``no-noise-expansion``, where ``noise`` is needed and not given; ``worker-lost``.
    """
    # Here: in the middle of an epoch it would count against the coordinator.
    require_expansion(Session(charter, 1, Purpose.TRAINING, 1, 1).noise_components, noise)
    replay = _Replay(charter, noise, heard)
    try:
        for event in events:
            if not replay.take(event):
                break
    except TamperingError as error:
        replay.break_off(error)
    return replay.finish()


class _Replay:
    """The coordinator once more. What it sends now must be what it is recorded to have sent."""

    def __init__(self, charter: VerifiedCharter, noise: NoiseExpansion, heard: Collection[int]) -> None:
        self._charter = charter
        self._noise = noise
        self._server: MaskingServer | None = None
        self._due: list[Sent] = []
        self._audit = EpochAudit(received={member: {} for member in heard})

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
            # How many is the coordinator's own word where nobody has dealt.
            rounds = min(server.session.rounds, self._charter.charter.epoch_rounds)
            audit.room_until = server.session.first_round + rounds - 1
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
                return self._receive(self._server, event)
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
            return self._find(OTHER_CHARTER, f"{_told(event.message)} is bound to another charter")
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

    def _receive(self, server: MaskingServer, event: Received) -> bool:
        try:
            self._expect(server.receive(event.member, event.message))
        except RemoteProtocolError as error:
            if is_acknowledgement(event.message):
                # A coordinator keeps none that it refuses. Whether it should have or another release made the run,
                # nothing after it can be judged.
                return self._find("refused-acknowledgement", _taken_elsewhere(error))
            self._audit.refused += 1
        else:
            self._note(event)
        return True

    def _note(self, event: Received | Around) -> None:
        """Count a message that is its sender's own. The coordinator does not open what comes too late: here it is."""
        envelope = self._opened(event)
        if envelope is None:
            self._audit.refused += 1
            return
        if envelope.header.stage is Stage.REFUSAL:
            self._note_refusal(envelope)
        if envelope.header.stage is Stage.STATUS:
            with suppress(RemoteProtocolError):
                told = decode(envelope.payload, _Claimed)
                self._audit.claims.append(Claim(event.member, told.epoch, told.round))
        if envelope.header.stage is Stage.SNAPSHOT:
            handed = self._audit.snapshots.setdefault(envelope.header.recipient, set())
            handed.add(envelope.header.payload_digest.hex())
        if event.member in self._audit.received:
            self._audit.received[event.member][hashlib.sha256(event.message).digest()] = None
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


def _taken_elsewhere(error: RemoteProtocolError) -> str:
    return (
        f"the coordinator took an acknowledgement that this release of secagg refuses ({error.reason}: "
        f"{error.message.removesuffix('.')}); the release that made the run can tell whether it should have"
    )


def _told(message: bytes) -> str:
    try:
        header = peek(message)
    except RemoteProtocolError:
        return "a message"
    where = f" of round {header.round}" if header.round else ""
    return f"the {header.stage.name} message{where}"
