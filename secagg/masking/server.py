"""The coordinator's side of the masking protocol: bytes in, bytes out, and a sum of what it cannot read.

Knows the order of messages and public values. Holds no key and no model; keeps one accumulator for each model digest
that is claimed, and bounds how many. The engine moves the bytes and says when waiting is over.

    server = MaskingServer(session)
    outbox = server.open()
    outbox = server.receive(sender, message)   # raises RemoteProtocolError for a message that is not allowed
    outbox = server.timeout()                  # whoever has not answered has dropped
    outbox = server.begin(step)                # once it is READY
    server.result                              # the sum, once there is one
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from secagg.errors import LocalProtocolError, ProtocolError, RemoteProtocolError, TamperingError
from secagg.masking.journal import Begun, Journal, Lost, Opened, Received, TimedOut, sent
from secagg.masking.messages import Abort, Begin, Deals, Open, Propose, Refusal, Roster, Sum, Unmask
from secagg.masking.noise import NoiseExpansion, refuse_noise, require_expansion
from secagg.masking.server_gate import Gate, is_acknowledgement, largest_payload
from secagg.masking.server_round import ServerRound
from secagg.masking.server_set_up import SetUp
from secagg.masking.session import Session, Settled
from secagg.masking.states import SERVER_TRANSITIONS, Action, ServerState, stages_in_turn
from secagg.processes.worker import WorkerLostError
from secagg.wire import COORDINATOR, Envelope, Outbox, Sealer, Stage
from secagg.wire.envelope import check_size, decode


class MaskingServer:
    """One epoch at the coordinator.

    Args:
        session: the epoch; its number and first round must be newer than any before under the charter.
        invited: the members to open the epoch with; all, unless one was caught cheating.
        journal: is told everything that happens, in order, so that the epoch can be run again: `secagg.transcript`.
            Messages larger than any stage that is in turn allows are not journalled, nor are acknowledgements that are
            refused.
        noise: draws noise as hospitals do, so that the surplus can be removed.

    Raises:
        LocalProtocolError: ``no-noise-expansion``, where noise is removed and ``noise`` is not given.

    Attributes:
        refusals: what hospitals refused in the current step, by member number.
        fault: why the last step was given up, if it was.
        answering: who dealt completely, or acknowledged, where the epoch was given up because others did not: open a
            new one with them.
    """

    def __init__(
        self,
        session: Session,
        invited: frozenset[int] | None = None,
        journal: Journal = lambda _event: None,
        noise: NoiseExpansion = refuse_noise,
    ) -> None:
        require_expansion(session.noise_components, noise)
        self.session = session
        self.state = ServerState.IDLE
        self.refusals: dict[int, Refusal] = {}
        self.fault: ProtocolError | None = None
        self.answering: frozenset[int] = frozenset()
        self._journal = journal
        self._noise = noise
        self._sealer = Sealer(session.charter, COORDINATOR, None, session.epoch)
        self._gate = Gate(session)
        self._set_up = SetUp(session, frozenset(session.members) if invited is None else invited)
        # None has begun: it stands for the one before the epoch's first, in which nobody took part.
        self._round = ServerRound(self._set_up.dealt, session.first_round - 1, 0, ())

    @property
    def participants(self) -> frozenset[int]:
        """Who takes part in the epoch: who was invited; once there is a roster, who is on it."""
        return self._set_up.participants

    @property
    def round(self) -> int:
        """The number of the round that began last; before the first, that of the round before."""
        return self._round.number

    @property
    def step(self) -> int:
        """Which applied sum that round's is to be; 0 before the first."""
        return self._round.step

    @property
    def result(self) -> Settled | None:
        """The last round's sum, without its vector where that is encrypted; None while a round runs and where it had
        none.
        """
        return self._round.result

    @property
    def exhausted(self) -> bool:
        """Whether every round of the epoch has been used."""
        return self.round >= self.session.first_round + self.session.rounds - 1

    @property
    def senders(self) -> frozenset[int]:
        """Who has sent a vector in this round."""
        return self._round.collection.senders

    @property
    def missing(self) -> frozenset[int]:
        """Whose answer the current step still waits for."""
        asked = self.participants
        answered: Collection[int]
        match self.state:
            case ServerState.ADVERTISING:
                answered = self._set_up.advertised
            case ServerState.DEALING:
                answered = self._set_up.dealt.complete
            case ServerState.ACKNOWLEDGING:
                answered = self._set_up.acknowledged
            case ServerState.COLLECTING:
                answered = self._round.collection.senders
            case ServerState.AGREEING:
                asked, answered = frozenset(self._round.survivors), self._round.agreements
            case ServerState.UNMASKING:
                asked, answered = frozenset(self._round.survivors), self._round.responders
            case _:
                return frozenset()
        return asked.difference(answered, self.refusals)

    def open(self) -> Outbox:
        """Propose the epoch to all."""
        self._move(Action.OPEN)
        session, invited = self.session, tuple(sorted(self.participants))
        self._journal(Opened(session.epoch, session.purpose, session.first_round, session.rounds, invited))
        proposal = Open(session.purpose, session.first_round, session.rounds)
        return self._noted(self._to(invited, Stage.OPEN, proposal))

    def begin(self, step: int, asked: tuple[int, ...] = ()) -> Outbox:
        """Start the next round, whose sum will be the ``step``-th applied.

        Args:
            asked: the survivors whose shares of this step were asked for in an earlier round, if any were: who revealed
                shares for them reveals none for another set. If all of them take part, only they are told to mask. In
                any case survivors are agreed to (PROPOSE) before shares are asked for, so that no hospital spends its
                one answer in vain. Where nobody knows any more, all participants.

        Raises:
            LocalProtocolError: ``out-of-turn``, ``epoch-exhausted``.
        """
        if self.exhausted:
            raise LocalProtocolError("epoch-exhausted", "Every round of this epoch has been used.")
        self._move(Action.BEGIN)
        self._journal(Begun(step, asked))
        self._round = ServerRound(self._set_up.dealt, self.round + 1, step, asked)
        self.fault = None
        self._gate = Gate(self.session)
        return self._noted(self._to(self._round.begun, Stage.BEGIN, Begin(step)))

    def receive(self, sender: int, message: bytes) -> Outbox:
        """Take one message that the engine says comes from member ``sender``; give what is to be sent on.

        Raises:
            RemoteProtocolError: if it is not allowed; nothing has changed then. An acknowledgement is not in the
                journal then.
            TamperingError: ``key-material``, if there is a secret key in it; it is not in the journal then.
        """
        # Before the journal: what may be of any size is not kept, and nothing comes of it.
        check_size(message, largest_payload(self.session, self.state))
        try:
            outbox = self._receive(sender, message)
        except TamperingError:
            raise
        except Exception:
            # One out of turn was not looked into: it might hold a secret key, and nobody needs it.
            if not is_acknowledgement(message):
                self._journal(Received(sender, message))
            raise
        self._journal(Received(sender, message))
        return self._noted(outbox)

    def timeout(self) -> Outbox:
        """Go on without those who have not answered, or give the step up if fewer than t have."""
        if not stages_in_turn(self.state) or self.state is ServerState.READY:
            return []
        # Not before: if the sum is lost in it, that comes first in the journal.
        outbox = self._advance()
        self._journal(TimedOut())
        return self._noted(outbox)

    def lose(self) -> None:
        """Drop what was added up in this round, which is given up (``worker-lost``) as soon as it would have a sum."""
        self._round.collection.lose()

    def _noted(self, outbox: Outbox) -> Outbox:
        for event in sent(outbox):
            self._journal(event)
        return outbox

    def _receive(self, sender: int, message: bytes) -> Outbox:
        if self._gate.is_too_late(message, self.state, self.round):
            return []
        envelope = self._gate.open(sender, message, self.state, self.participants)
        if self._gate.is_repeated(envelope.header):
            return []
        self._take(envelope, message)
        self._gate.remember(envelope.header)
        return self._advance() if self._all_answered() else []

    def _take(self, envelope: Envelope, message: bytes) -> None:
        match envelope.header.stage:
            case Stage.ADVERTISE:
                self._set_up.take_advertisement(envelope, message)
            case Stage.DEAL:
                self._set_up.take_deal(envelope, message)
            case Stage.ACKNOWLEDGE:
                self._set_up.take_acknowledgement(envelope)
            case Stage.MASKED:
                self._take_masked(envelope)
            case Stage.AGREE:
                self._round.take_agreement(envelope)
            case Stage.REVEAL:
                self._round.take_reveal(envelope)
            case Stage.REFUSAL:
                self.refusals[envelope.header.sender] = decode(envelope.payload, Refusal)
            case stage:
                raise LocalProtocolError("out-of-turn", f"The coordinator does nothing with a {stage.name} message.")

    def _take_masked(self, envelope: Envelope) -> None:
        try:
            self._round.take_masked(envelope)
        except WorkerLostError:
            self._lose()
            self._round.take_masked(envelope)

    def _lose(self) -> None:
        self._journal(Lost())
        self.lose()

    def _all_answered(self) -> bool:
        if self.state is ServerState.AGREEING and self.session.complete:
            # In a sparse graph all are waited for: the more agreements, the fewer a hospital must check.
            return len(self._round.agreements) >= self.session.threshold or not self.missing
        if self.state is ServerState.UNMASKING and not self.session.encrypted and self._round.enough_revealed:
            # Sealed shares are all waited for: only hospitals can tell wrong ones, and each further share lets them
            # leave out one that is wrong.
            return True
        return not self.missing and self.state not in (ServerState.READY, ServerState.CLOSED)

    def _advance(self) -> Outbox:
        if self._round.collection.lost:
            return self._give_up(_worker_lost())
        match self.state:
            case ServerState.ADVERTISING:
                return self._send_roster()
            case ServerState.DEALING:
                return self._send_deals()
            case ServerState.ACKNOWLEDGING:
                return self._close_set_up()
            case ServerState.COLLECTING:
                return self._close_collection()
            case ServerState.AGREEING:
                return self._close_agreement()
            case ServerState.UNMASKING:
                return self._send_sum()
            case state:
                raise LocalProtocolError("out-of-turn", f"While {state.value}, there is nothing to go on to.")

    def _send_roster(self) -> Outbox:
        self._set_up.draw_up_roster()
        if len(self.participants) < self.session.threshold:
            return self._give_up(self._too_few("too-few-advertised"))
        self._move(Action.ADVANCE)
        if self.session.complete:
            return self._to(self.participants, Stage.ROSTER, self._set_up.roster())
        return self._to_each(Stage.ROSTER, self._set_up.roster_for)

    def _send_deals(self) -> Outbox:
        dealers = self._set_up.dealt.complete
        if dealers != self.participants:
            # Hospitals accept a roster as a whole: whoever drops out now is left out by opening a new epoch.
            self.answering = dealers
            return self._give_up(self._too_few("incomplete-dealing"))
        self._move(Action.AWAIT if self.session.encrypted else Action.ADVANCE)
        return self._to_each(Stage.DEALS, self._set_up.dealt.hand_out)

    def _close_set_up(self) -> Outbox:
        acknowledged = self._set_up.acknowledged
        if acknowledged != self.participants:
            self.answering = acknowledged
            return self._give_up(self._too_few("incomplete-acknowledgement"))
        agreeing = self._set_up.agreeing
        if agreeing != self.participants:
            fault = self._set_up.other_secret()
            self.answering = agreeing if fault.culprit else frozenset()
            return self._give_up(fault)
        self._move(Action.ADVANCE)
        return []

    def _close_collection(self) -> Outbox:
        _, senders = self._round.collection.largest()
        if len(senders) < self.session.threshold:
            return self._give_up(self._too_few("too-few-masked"))
        self._round.settle()
        if not self.session.masked:
            return self._send_encrypted_sum(Action.SETTLE)
        if not self._round.needs_agreement:
            return self._send_unmask()
        self._move(Action.PROPOSE)
        survivors = self._round.survivors
        return self._to(survivors, Stage.PROPOSE, Propose(list(survivors)))

    def _close_agreement(self) -> Outbox:
        if len(self._round.agreements) < self.session.threshold:
            return self._give_up(self._too_few("too-few-agreed"))
        return self._send_unmask()

    def _send_unmask(self) -> Outbox:
        self._move(Action.ADVANCE)
        return self._to(self._round.survivors, Stage.UNMASK, self._round.ask_for_shares(self._noise))

    def _send_sum(self) -> Outbox:
        if not self._round.enough_revealed:
            return self._give_up(self._too_few("too-few-revealed"))
        if self.session.encrypted:
            return self._send_encrypted_sum(Action.ADVANCE)
        try:
            total = self._round.unmask()
        except RemoteProtocolError as fault:
            return self._give_up(fault)
        self._move(Action.ADVANCE)
        return self._to(self.participants, Stage.SUM, total)

    def _send_encrypted_sum(self, action: Action) -> Outbox:
        try:
            message = self._round.seal_encrypted_sum(self._sealer)
        except WorkerLostError:
            self._lose()
            return self._give_up(_worker_lost())
        self._move(action)
        return [(number, message) for number in sorted(self.participants)]

    def _too_few(self, reason: str) -> RemoteProtocolError:
        return RemoteProtocolError(
            reason,
            f"Fewer than {self.session.threshold} hospitals answered while {self.state.value}.",
            remedy="Wait until enough hospitals can be reached, then open a new epoch or begin a new round.",
        )

    def _give_up(self, fault: ProtocolError) -> Outbox:
        self.fault = fault
        self._move(Action.GIVE_UP)
        return self._to(self.participants, Stage.ABORT, Abort(fault.reason))

    def _move(self, action: Action) -> None:
        target = SERVER_TRANSITIONS.get((self.state, action))
        if target is None:
            raise LocalProtocolError(
                "out-of-turn", f"The coordinator is {self.state.value}: {action.value} is not next."
            )
        self.state = target
        self.refusals = {}

    def _to(
        self,
        recipients: Collection[int],
        stage: Stage,
        payload: Open | Roster | Begin | Propose | Unmask | Sum | Abort,
    ) -> Outbox:
        """One message for all ``recipients``."""
        message = self._sealer.seal(stage, payload, round=0 if stage in _OF_SET_UP else self.round)
        return [(number, message) for number in sorted(recipients)]

    def _to_each(self, stage: Stage, payload_for: Callable[[int], Roster | Deals]) -> Outbox:
        """For each participant a message of its own."""
        return [
            (number, self._sealer.seal(stage, payload_for(number), recipient=number))
            for number in sorted(self.participants)
        ]


def _worker_lost() -> LocalProtocolError:
    return LocalProtocolError(
        "worker-lost",
        "A process that added vectors has ended or is stuck, and the round's sum with it.",
        remedy="The step is summed anew. If that comes to nothing too: is there enough memory?",
    )


_OF_SET_UP = frozenset({Stage.OPEN, Stage.ROSTER})
