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

from collections.abc import Collection

from secagg.encoding import pack
from secagg.errors import LocalProtocolError, ProtocolError, RemoteProtocolError, TamperingError
from secagg.masking.agreement import detach_agreement
from secagg.masking.collection import VectorSum
from secagg.masking.contributions import detach_contribution
from secagg.masking.dealing import check_advertised_keys
from secagg.masking.dealt import Dealt
from secagg.masking.encrypted_sum import EncryptedSumPayload
from secagg.masking.journal import Begun, Journal, Lost, Opened, Received, TimedOut, sent
from secagg.masking.limits import check_advertisement_sizes, payload_limit
from secagg.masking.messages import (
    Abort,
    Acknowledge,
    Advertise,
    Agree,
    Agreement,
    Begin,
    Contribution,
    Deal,
    Deals,
    EncryptedSum,
    Masked,
    Open,
    Propose,
    Refusal,
    ResponderReveal,
    Reveal,
    Roster,
    SealedReveal,
    Sum,
    Unmask,
)
from secagg.masking.neighbours import check_holders, viable
from secagg.masking.noise import NoiseExpansion, refuse_noise, require_expansion
from secagg.masking.remedies import WITHOUT_MEMBER
from secagg.masking.sealed_reveals import SealedReveals
from secagg.masking.session import Session, Settled, Survivors
from secagg.masking.states import SERVER_TRANSITIONS, Action, ServerState, stages_in_turn
from secagg.masking.unmasking import Unmasking
from secagg.processes.worker import WorkerLostError
from secagg.wire import COORDINATOR, Envelope, Header, Outbox, Sealer, Stage, open_envelope
from secagg.wire.envelope import check_size, decode, decode_exactly, name_of, peek


class MaskingServer:
    """One epoch at the coordinator.

    Args:
        session: the epoch; its number and first round must be newer than any before under the charter.
        invited: the members to open the epoch with; all, unless one was caught cheating.
        journal: is told everything that happens, in order, so that the epoch can be run again: `secagg.transcript`.
            Messages larger than any stage that is in turn allows are not journalled.
        noise: draws noise as hospitals do, so that the surplus can be removed.

    Raises:
        LocalProtocolError: ``no-noise-expansion``, where noise is removed and ``noise`` is not given.

    Attributes:
        result: the last round's sum, without its vector where that is encrypted; None while a round runs and where it
            had none.
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
        self.round = session.first_round - 1
        self.step = 0
        self._asked: frozenset[int] = frozenset()
        self._begun: frozenset[int] = frozenset()
        self.participants = frozenset(session.members) if invited is None else invited
        self.result: Settled | None = None
        self.refusals: dict[int, Refusal] = {}
        self.fault: ProtocolError | None = None
        self.answering: frozenset[int] = frozenset()
        self._journal = journal
        self._noise = noise
        self._sealer = Sealer(session.charter, COORDINATOR, None, session.epoch)
        self._seen: dict[_Place, bytes] = {}
        self._advertised: dict[int, bytes] = {}
        self._roster: dict[int, Advertise] = {}
        self._dealt = Dealt(session, {}, frozenset())
        self._acknowledged: dict[int, bytes] = {}
        self._collection = VectorSum(session)
        self._agreements: dict[int, Agreement] = {}
        self._unmasking: Unmasking | SealedReveals | None = None

    @property
    def exhausted(self) -> bool:
        """Whether every round of the epoch has been used."""
        return self.round >= self.session.first_round + self.session.rounds - 1

    @property
    def senders(self) -> frozenset[int]:
        """Who has sent a vector in this round."""
        return self._collection.senders

    @property
    def missing(self) -> frozenset[int]:
        """Whose answer the current step still waits for."""
        match self.state:
            case ServerState.ADVERTISING:
                answered = frozenset(self._advertised)
            case ServerState.DEALING:
                answered = self._dealt.complete
            case ServerState.ACKNOWLEDGING:
                answered = frozenset(self._acknowledged)
            case ServerState.COLLECTING:
                answered = self._collection.senders
            case ServerState.AGREEING:
                return frozenset(self._survivors) - set(self._agreements) - set(self.refusals)
            case ServerState.UNMASKING:
                return self._missing_reveals()
            case _:
                return frozenset()
        return self.participants - answered - set(self.refusals)

    def open(self) -> Outbox:
        """Propose the epoch to all."""
        self._move(Action.OPEN)
        session = self.session
        invited = tuple(sorted(self.participants))
        self._journal(Opened(session.epoch, session.purpose, session.first_round, session.rounds, invited))
        return self._noted(self._broadcast(Stage.OPEN, Open(session.purpose, session.first_round, session.rounds)))

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
        self.round += 1
        self.step = step
        self._asked = frozenset(asked)
        self.result = None
        self.fault = None
        self._seen.clear()
        self._collection = VectorSum(self.session)
        self._agreements = {}
        alone = asked and self.participants.issuperset(asked)
        self._begun = self._asked if alone else self.participants
        outbox = self._broadcast(Stage.BEGIN, Begin(step))
        return self._noted([(member, message) for member, message in outbox if member in self._begun])

    def receive(self, sender: int, message: bytes) -> Outbox:
        """Take one message that the engine says comes from member ``sender``; give what is to be sent on.

        Raises:
            RemoteProtocolError: if it is not allowed; nothing has changed then.
            TamperingError: ``key-material``, if there is a secret key in it; it is not in the journal then.
        """
        # Before the journal: what may be of any size is not kept, and nothing comes of it.
        check_size(message, self._largest_payload)
        try:
            outbox = self._receive(sender, message)
        except TamperingError:
            raise
        except Exception:
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
        self._collection.lose()

    def _noted(self, outbox: Outbox) -> Outbox:
        for event in sent(outbox):
            self._journal(event)
        return outbox

    def _receive(self, sender: int, message: bytes) -> Outbox:
        if self._too_late(peek(message)):
            return []
        envelope = open_envelope(message, self.session.charter, self._largest_payload)
        header = envelope.header
        name = name_of(header, self.session.charter)
        if header.sender != sender:
            raise RemoteProtocolError("wrong-sender", f"A message in the name of {name} is not its own.", culprit=name)
        if sender not in self.participants:
            raise RemoteProtocolError("not-taking-part", f"{name} takes no part in this epoch, or no longer.")
        self._require_in_turn(header, name)
        self._require_addressed(header, name)
        check_size(message, payload_limit(self.session, header.stage), name)
        if self._repeated(header, name):
            return []
        self._take(envelope, name, message)
        self._seen[_place_of(header)] = header.payload_digest
        return self._advance() if self._all_answered() else []

    @property
    def _largest_payload(self) -> int:
        return max((payload_limit(self.session, stage) for stage in stages_in_turn(self.state)), default=0)

    def _require_in_turn(self, header: Header, name: str) -> None:
        if header.stage not in stages_in_turn(self.state):
            raise RemoteProtocolError(
                "unexpected-message", f"{name} sent {header.stage.name} while {self.state.value}.", culprit=name
            )
        if header.epoch != self.session.epoch:
            raise RemoteProtocolError("other-epoch", f"{name} sent a message of epoch {header.epoch}.", culprit=name)
        if (header.round == 0) != (header.stage in _OF_NO_ROUND) and header.stage is not Stage.REFUSAL:
            raise RemoteProtocolError("other-round", f"{name} numbered its message for another round.", culprit=name)

    def _require_addressed(self, header: Header, name: str) -> None:
        """Hospitals write headers of others anew, to check their signatures: the recipient is not theirs to choose."""
        if header.recipient != COORDINATOR and header.stage is not Stage.DEAL:
            raise RemoteProtocolError(
                "other-recipient", f"{name} addressed a {header.stage.name} message to a member.", culprit=name
            )

    def _take(self, envelope: Envelope, name: str, message: bytes) -> None:
        sender = envelope.header.sender
        match envelope.header.stage:
            case Stage.ADVERTISE:
                advertisement = decode_exactly(envelope.payload, Advertise, name)
                check_advertisement_sizes(self.session, advertisement, name)
                check_holders(self.session, advertisement, sender)
                check_advertised_keys(self.session, advertisement, name)
                self._advertised[sender], self._roster[sender] = message, advertisement
            case Stage.DEAL:
                deal = decode_exactly(envelope.payload, Deal, name)
                self._dealt.add(sender, envelope.header.recipient, deal, message)
            case Stage.MASKED:
                self._take_masked(envelope, name)
            case Stage.AGREE:
                self._take_agreement(envelope, name)
            case Stage.ACKNOWLEDGE:
                self._take_acknowledgement(sender, name, decode(envelope.payload, Acknowledge))
            case Stage.REVEAL:
                self._require_survivor(sender, name)
                self._take_reveal(sender, envelope.payload)
            case Stage.REFUSAL:
                self.refusals[sender] = decode(envelope.payload, Refusal)
            case stage:
                raise LocalProtocolError("out-of-turn", f"The coordinator does nothing with a {stage.name} message.")

    def _take_masked(self, envelope: Envelope, name: str) -> None:
        sender = envelope.header.sender
        if envelope.header.round != self.round:
            raise RemoteProtocolError("other-round", f"{name} masked another round.", culprit=name)
        if sender not in self._begun:
            # With its vector the cohort would be one that those who gave shares refuse.
            raise RemoteProtocolError("not-asked", f"{name} masked a round that was begun without it.", culprit=name)
        self._add(sender, name, decode(envelope.payload, Masked), detach_contribution(envelope))

    def _require_survivor(self, sender: int, name: str) -> None:
        """Hospitals refuse whatever is shown to them in the name of one that is not in the sum."""
        if sender not in self._survivors:
            raise RemoteProtocolError(
                "not-a-survivor", f"{name} answered for a sum that it is not part of.", culprit=name
            )

    def _add(self, sender: int, name: str, masked: Masked, contribution: Contribution) -> None:
        try:
            self._collection.add(sender, name, masked, contribution)
        except WorkerLostError:
            self._lose()
            self._collection.add(sender, name, masked, contribution)

    def _lose(self) -> None:
        self._journal(Lost())
        self.lose()

    def _take_acknowledgement(self, sender: int, name: str, acknowledged: Acknowledge) -> None:
        # Only here: TenSEAL is loaded where something is encrypted.
        from secagg.homomorphic.context import check_context

        check_context(acknowledged.context, self.session.form.spec, name)
        self._acknowledged[sender] = acknowledged.fingerprint

    def _take_reveal(self, sender: int, payload: memoryview) -> None:
        match self._unmasking:
            case Unmasking():
                self._unmasking.add(sender, decode(payload, Reveal))
            case SealedReveals():
                self._unmasking.add(sender, decode(payload, SealedReveal))

    def _take_agreement(self, envelope: Envelope, name: str) -> None:
        self._require_survivor(envelope.header.sender, name)
        wanted = self._proposal().digest()
        agree = decode_exactly(envelope.payload, Agree, name)
        if envelope.header.round != self.round or agree.survivors_digest != wanted:
            raise RemoteProtocolError("survivors-changed", f"{name} agreed to other survivors.", culprit=name)
        self._agreements[envelope.header.sender] = detach_agreement(envelope)

    def _too_late(self, header: Header) -> bool:
        """Whether a message is in turn, but no longer needed: enough others came before it.

        Nothing comes of it, so that nobody need check its signature.
        """
        wanted = _ANSWERED_IN.get(header.stage)
        if wanted is None or header.stage not in stages_in_turn(self.state):
            return False
        return self.state is not wanted or header.round != self.round

    def _repeated(self, header: Header, name: str) -> bool:
        seen = self._seen.get(_place_of(header))
        if seen is not None and seen != header.payload_digest:
            raise RemoteProtocolError(
                "equivocation",
                f"{name} sent two different {header.stage.name} messages.",
                culprit=name,
                remedy=WITHOUT_MEMBER,
            )
        return seen is not None

    def _all_answered(self) -> bool:
        if self.state is ServerState.AGREEING and self.session.complete:
            # In a sparse graph all are waited for: the more agreements, the fewer a hospital must check.
            return len(self._agreements) >= self.session.threshold or not self.missing
        if self.state is ServerState.UNMASKING and isinstance(self._unmasking, Unmasking) and self._unmasking.enough:
            # Sealed shares are all waited for: only hospitals can tell wrong ones, and each further share lets them
            # leave out one that is wrong.
            return True
        return not self.missing and self.state not in (ServerState.READY, ServerState.CLOSED)

    def _advance(self) -> Outbox:
        if self._collection.lost:
            return self._give_up_lost()
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
                return self._send_unmask()
            case ServerState.UNMASKING:
                return self._send_sum()
            case state:
                raise LocalProtocolError("out-of-turn", f"While {state.value}, there is nothing to go on to.")

    def _send_roster(self) -> Outbox:
        self.participants = viable(self._roster, self.session)
        self._dealt = Dealt(self.session, self._roster, self.participants)
        if len(self.participants) < self.session.threshold:
            return self._give_up("too-few-advertised")
        self._move(Action.ADVANCE)
        if self.session.complete:
            return self._broadcast(Stage.ROSTER, self._roster_for(self.participants))
        concerns = self._concerns()
        return [
            (number, self._sealer.seal(Stage.ROSTER, self._roster_for(concerns[number]), recipient=number))
            for number in sorted(self.participants)
        ]

    def _roster_for(self, shown: Collection[int]) -> Roster:
        messages = [memoryview(self._advertised[number]) for number in sorted(shown)]
        return Roster(sorted(self.participants), messages)

    def _concerns(self) -> dict[int, set[int]]:
        """Whose keys each participant needs: its own, those it deals to, those who deal to it."""
        concerns = {number: {number} for number in self.participants}
        for dealer in self.participants:
            for recipient in self._dealt.recipients[dealer]:
                concerns[dealer].add(recipient)
                concerns[recipient].add(dealer)
        return concerns

    def _send_deals(self) -> Outbox:
        dealers = self._dealt.complete
        if dealers != self.participants:
            # Hospitals accept a roster as a whole: whoever drops out now is left out by opening a new epoch.
            self.answering = dealers
            return self._give_up("incomplete-dealing")
        self._move(Action.AWAIT if self.session.encrypted else Action.ADVANCE)
        outbox = []
        for recipient in sorted(self.participants):
            deals = Deals([memoryview(message) for _, message in sorted(self._dealt.messages[recipient].items())])
            outbox.append((recipient, self._sealer.seal(Stage.DEALS, deals, recipient=recipient)))
        self._dealt.messages.clear()
        return outbox

    def _close_set_up(self) -> Outbox:
        if frozenset(self._acknowledged) != self.participants:
            self.answering = frozenset(self._acknowledged)
            return self._give_up("incomplete-acknowledgement")
        fingerprints = list(self._acknowledged.values())
        common = max(fingerprints, key=fingerprints.count)
        agreeing = frozenset(number for number, found in self._acknowledged.items() if found == common)
        if agreeing != self.participants:
            fault = self._other_secret(agreeing)
            self.answering = agreeing if fault.culprit else frozenset()
            return self._give_up("other-secret", fault)
        self._move(Action.ADVANCE)
        return []

    def _other_secret(self, agreeing: frozenset[int]) -> RemoteProtocolError:
        """Some hospitals made another secret of the same contributions, or encrypt at another scale.

        They are named if the others are more than they, and more than may lie: then an honest one is among the others.
        """
        others, remedy = self.participants - agreeing, "All members need releases of secagg and TenSEAL that agree."
        if len(agreeing) <= max(self.session.charter.charter.most_liars, len(others)):
            said = (
                "The members have different homomorphic secrets, or scale numbers differently, and not enough agree to "
                "tell whose is another."
            )
            return RemoteProtocolError("other-secret", said, remedy=remedy)
        names = ", ".join(self.session.name(number) for number in sorted(others))
        return RemoteProtocolError(
            "other-secret",
            f"{names} made another homomorphic secret than the others, or would scale numbers by another factor.",
            culprit=self.session.name(min(others)),
            remedy=remedy,
        )

    def _close_collection(self) -> Outbox:
        senders = self._survivors
        if len(senders) < self.session.threshold:
            return self._give_up("too-few-masked")
        if not self.session.masked:
            return self._send_encrypted_sum(Action.SETTLE, self._settled(), [])
        if frozenset(senders) == self.participants and self.session.complete and not self._asked:
            return self._send_unmask()
        self._move(Action.PROPOSE)
        message = self._sealer.seal(Stage.PROPOSE, Propose(list(senders)), round=self.round)
        return [(number, message) for number in senders]

    def _send_unmask(self) -> Outbox:
        settled = self._settled()
        agreements = [agreement for _, agreement in sorted(self._agreements.items())]
        if self.state is ServerState.AGREEING and len(agreements) < self.session.threshold:
            return self._give_up("too-few-agreed")
        self._move(Action.ADVANCE)
        if self.session.encrypted:
            self._unmasking = SealedReveals(self.session, settled, len(self.participants))
        else:
            self._unmasking = Unmasking(self.session, settled, self._dealt, self._noise)
        numbers = settled.survivors.numbers
        message = self._sealer.seal(Stage.UNMASK, Unmask(list(numbers), agreements), round=self.round)
        return [(number, message) for number in numbers]

    @property
    def _survivors(self) -> tuple[int, ...]:
        return tuple(sorted(self._collection.largest()[1]))

    def _proposal(self) -> Survivors:
        return Survivors.check(self._survivors, self.session, self.participants)

    def _settled(self) -> Settled:
        model, _ = self._collection.largest()
        return Settled(self.round, self.step, self._proposal(), model)

    def _send_sum(self) -> Outbox:
        unmasking = self._unmasking
        if unmasking is None or not unmasking.enough:
            return self._give_up("too-few-revealed")
        if isinstance(unmasking, SealedReveals):
            return self._send_encrypted_sum(Action.ADVANCE, unmasking.settled, unmasking.revealed())
        settled = unmasking.settled
        total = self._collection.packed_sum_of(settled.model)
        try:
            tag = unmasking.unmask(total, self._collection.tags_of(settled.model))
        except RemoteProtocolError as error:
            return self._give_up(error.reason, error)
        self._move(Action.ADVANCE)
        self.session.ring.reduce(total)
        packed = pack(total, self.session.ring)
        self.result = settled.summed(total, tag)
        numbers, tag_bytes = list(settled.survivors.numbers), tag.to_bytes(self.session.tag_size, "little")
        return self._broadcast(Stage.SUM, Sum(settled.step, numbers, settled.model, memoryview(packed), tag_bytes))

    def _send_encrypted_sum(self, action: Action, settled: Settled, reveals: list[ResponderReveal]) -> Outbox:
        collection, model, size = self._collection, settled.model, self.session.tag_size
        tag = collection.tags_of(model)[0] % (1 << 8 * size)
        contributions = collection.contributions_of(model)
        numbers = list(settled.survivors.numbers)
        blank = EncryptedSum(
            settled.step, numbers, model, tag.to_bytes(size, "little"), contributions, reveals, memoryview(b"")
        )
        payload, take = EncryptedSumPayload(blank, self.session.sum_bytes), collection.ciphertexts_of(model).take
        try:
            message = self._sealer.seal_in_place(
                Stage.SUM, payload.size, lambda view: payload.write(view, take), round=self.round
            )
        except WorkerLostError:
            self._lose()
            return self._give_up_lost()
        self._move(action)
        self.result = settled
        return [(number, message) for number in sorted(self.participants)]

    def _give_up_lost(self) -> Outbox:
        fault = LocalProtocolError(
            "worker-lost",
            "A process that added vectors has ended or is stuck, and the round's sum with it.",
            remedy="The step is summed anew. If that comes to nothing too: is there enough memory?",
        )
        return self._give_up(fault.reason, fault)

    def _give_up(self, reason: str, fault: ProtocolError | None = None) -> Outbox:
        self.fault = fault or RemoteProtocolError(
            reason,
            f"Fewer than {self.session.threshold} hospitals answered while {self.state.value}.",
            remedy="Wait until enough hospitals can be reached, then open a new epoch or begin a new round.",
        )
        self._move(Action.GIVE_UP)
        return self._broadcast(Stage.ABORT, Abort(reason))

    def _missing_reveals(self) -> frozenset[int]:
        if self._unmasking is None:
            return frozenset()
        return frozenset(self._unmasking.settled.survivors.numbers) - self._unmasking.responders - set(self.refusals)

    def _move(self, action: Action) -> None:
        target = SERVER_TRANSITIONS.get((self.state, action))
        if target is None:
            raise LocalProtocolError(
                "out-of-turn", f"The coordinator is {self.state.value}: {action.value} is not next."
            )
        self.state = target
        self.refusals = {}

    def _broadcast(self, stage: Stage, payload: Open | Roster | Begin | Sum | Abort) -> Outbox:
        message = self._sealer.seal(stage, payload, round=self.round if stage in _OF_A_ROUND else 0)
        return [(number, message) for number in sorted(self.participants)]


_OF_NO_ROUND = frozenset({Stage.ADVERTISE, Stage.DEAL, Stage.ACKNOWLEDGE})
_ANSWERED_IN = {Stage.AGREE: ServerState.AGREEING, Stage.REVEAL: ServerState.UNMASKING}
_OF_A_ROUND = frozenset({Stage.BEGIN, Stage.SUM, Stage.ABORT})

_Place = tuple[Stage, int, int, int]


def _place_of(header: Header) -> _Place:
    return header.stage, header.sender, header.recipient, header.round
