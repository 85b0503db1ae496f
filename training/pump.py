"""Moves the messages of a set-up or a round between the coordinator's state machine and an engine."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from secagg.errors import RemoteProtocolError
from secagg.masking import MaskingServer
from secagg.masking.journal import Around, Journal
from secagg.masking.messages import Refusal
from secagg.masking.session import Settled
from secagg.masking.states import ServerState
from secagg.wire import Stage
from secagg.wire.envelope import decode, peek
from training.engines.base import Engine, Exchange, Outbox, Phase
from training.messages import LARGEST_ANSWER, Status
from training.round_record import RefusalRecord
from training.statuses import open_from

_PHASES = {
    ServerState.ADVERTISING: Phase.ADVERTISE,
    ServerState.DEALING: Phase.DEAL,
    ServerState.ACKNOWLEDGING: Phase.ACKNOWLEDGE,
    ServerState.COLLECTING: Phase.MASK,
    ServerState.AGREEING: Phase.AGREE,
    ServerState.UNMASKING: Phase.REVEAL,
}


@dataclass
class Pump:
    """One set-up or one round.

    Attributes:
        round: 0 for a set-up.
        bytes_up, bytes_down: sent by all hospitals together, and to them.
        finished: who said that the model is finished.
        silent: who was cut off between its vector and the shares that take masks off.
        unready: who was not reached with what ends a set-up or a round, or refused it: it can mask in no round of that
            epoch, or in none before it has that sum.
    """

    engine: Engine
    server: MaskingServer
    round: int
    journal: Journal
    bytes_up: int = 0
    bytes_down: int = 0
    finished: set[int] = field(default_factory=set)
    silent: frozenset[int] = frozenset()
    unready: frozenset[int] = frozenset()
    refusals: list[RefusalRecord] = field(default_factory=list)
    _refused: set[int] = field(default_factory=set)

    def run(
        self,
        outbox: Outbox,
        before_apply: Callable[[Settled, bytes], None] = lambda *_: None,
        before_reveal: Callable[[tuple[int, ...]], None] = lambda _cohort: None,
    ) -> None:
        """Exchange messages until the server has nothing more to send.

        Args:
            before_apply: called with a round's sum, and the message that gives it, before anybody is sent it.
            before_reveal: called with the numbers of those who will be asked for shares, before they are.
        """
        while outbox:
            state = self.server.state
            settled = state is ServerState.READY or state is ServerState.CLOSED
            if settled and self.server.result and self.round:
                before_apply(self.server.result, outbox[0][1])
            phase = _PHASES.get(state, Phase.APPLY if self.round else Phase.READY)
            if phase is Phase.REVEAL:
                before_reveal(tuple(member for member, _ in outbox))
            self.bytes_down += sum(len(message) for _, message in outbox)
            exchange = self.engine.exchange(phase, outbox, self.round)
            if phase in (Phase.AGREE, Phase.REVEAL):
                self.silent |= exchange.dropped
            outbox = self._deliver(exchange)
            if phase in (Phase.READY, Phase.APPLY):
                self.unready = exchange.dropped | self._refused
            if not settled and self.server.state is state:
                outbox = self.server.timeout()

    def _deliver(self, exchange: Exchange) -> Outbox:
        outbox: list[tuple[int, bytes]] = []
        self._refused.clear()
        for sender, message in exchange.inbox:
            self.bytes_up += len(message)
            try:
                if self._is_status(sender, message):
                    continue
                outbox += self.server.receive(sender, message)
                self._note_refusal(sender, message)
            except RemoteProtocolError as error:
                # Who refuses to enter an epoch is still in the one before: what it says tells more than that.
                with suppress(RemoteProtocolError):
                    self._note_refusal(sender, message)
                self._note(sender, error)
        return outbox

    def _is_status(self, sender: int, message: bytes) -> bool:
        if self.server.state not in (ServerState.READY, ServerState.CLOSED):
            return False
        envelope = open_from(self.server.session.charter, sender, message, LARGEST_ANSWER)
        match envelope.header.stage:
            case Stage.STATUS:
                if decode(envelope.payload, Status).finished:
                    self.finished.add(sender)
            case Stage.REFUSAL:
                self._note(sender, decode(envelope.payload, Refusal))
            case _:
                return False
        self.journal(Around(sender, message))
        return True

    def _note_refusal(self, sender: int, message: bytes) -> None:
        # From the message: the last one to answer moves the server on, which forgets the step's refusals.
        if peek(message).stage is Stage.REFUSAL:
            charter = self.server.session.charter
            self._note(sender, decode(open_from(charter, sender, message, LARGEST_ANSWER).payload, Refusal))

    def _note(self, sender: int, refusal: Refusal | RemoteProtocolError) -> None:
        """One of each hospital in each exchange: it may send thousands, and what is noted is kept."""
        if sender not in self._refused:
            self._refused.add(sender)
            self.refusals.append(RefusalRecord.of(self.server.session.charter, sender, refusal))
