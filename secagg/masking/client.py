"""One hospital's side of the masking protocol: bytes in, bytes out.

Knows the order of messages, this hospital's secrets of the current epoch and its latch. Knows no network, no clock and
no model: the caller hands over an encoded vector when a round has begun and picks up the sum.

    client = MaskingClient(charter, identity, latch, policy)
    for message in inbox:
        outbox += client.receive(message)
    if client.state is ClientState.ASKED:
        outbox.append(client.mask(vector, model_digest))
    total = client.take_sum()
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from secagg.charter import VerifiedCharter
from secagg.encoding.ring import RingVector
from secagg.errors import LocalProtocolError, RemoteProtocolError, SecaggError
from secagg.identity import Identity
from secagg.labels import digest
from secagg.latch import NEVER_SEEN, Latch, Sighting
from secagg.masking.agreement import ForgedAgreementError, require_agreement
from secagg.masking.contributions import require_contributions
from secagg.masking.dealing import (
    HeldShares,
    seal_deal,
    share_out,
    tag_part,
)
from secagg.masking.epoch import Epoch, Memory
from secagg.masking.limits import payload_limit
from secagg.masking.masked_message import seal_masked
from secagg.masking.messages import Abort, Agree, Begin, Deal, Deals, EncryptedSum, Open, Propose, Roster, Sum, Unmask
from secagg.masking.passed_on import open_passed_on
from secagg.masking.revealing import shares_for
from secagg.masking.session import Purpose, RoundSum, Session, Settled, Survivors
from secagg.masking.shamir import Randomness
from secagg.masking.states import CLIENT_TRANSITIONS, Action, ClientState, stages_in_turn
from secagg.masking.sums import plain_sum, settled_by
from secagg.masking.verification import ForgedSumError, VerifiedSum, verify_sum
from secagg.policy import Policy, check_charter
from secagg.signed_log import LogPlace
from secagg.wire import COORDINATOR, Envelope, Stage, open_envelope
from secagg.wire.envelope import check_size, decode

_OPEN_LIMIT = 4096
_WITHIN_A_ROUND = frozenset({ClientState.ASKED, ClientState.MASKED, ClientState.AGREED, ClientState.REVEALED})
_NOT_MASKED = frozenset({ClientState.READY, ClientState.ASKED})


class MaskingClient:
    """One hospital in one charter, through any number of epochs.

    Args:
        charter: signed by all.
        identity: this hospital's; must be a member's.
        latch: this hospital's, on disk.
        policy: this hospital's; it must allow the charter.
        randomness: gives n random bytes; replaced only to record test vectors.

    Raises:
        InputError: ``unknown-member``, if the identity is not a member's.
        RefusedError: if the policy does not allow the charter.
    """

    def __init__(
        self,
        charter: VerifiedCharter,
        identity: Identity,
        latch: Latch,
        policy: Policy,
        randomness: Randomness = os.urandom,
    ) -> None:
        check_charter(charter.charter, policy)
        self._charter = charter
        self._identity = identity
        self._latch = latch
        self._randomness = randomness
        self.number = charter.charter.number_of_key(identity.public_key)
        self.state = ClientState.STOPPED if latch.is_stopped(charter.digest) else ClientState.IDLE
        self.round = 0
        self.step = 0
        self._epoch: Epoch | None = None
        self._answered: Survivors | None = None
        self._sum: VerifiedSum | None = None

    @property
    def session(self) -> Session:
        """The epoch this hospital is in.

        Raises:
            LocalProtocolError: ``no-epoch``.
        """
        return self._current().session

    def receive(self, message: bytes) -> list[bytes]:
        """Take one message; give the replies.

        Raises:
            ForgedSumError: a sum's tag does not fit. Nothing is taken or given any more.
            ForgedAgreementError: an agreement to survivors is forged. Nothing more is answered in this round.
            RemoteProtocolError: with a reason code, if the message is not allowed otherwise. The state stays what it
                was.
        """
        envelope = open_envelope(message, self._charter, self._limit())
        header = envelope.header
        if header.recipient not in (COORDINATOR, self.number):
            raise RemoteProtocolError("other-recipient", "A message is addressed to another member.")
        target = CLIENT_TRANSITIONS.get((self.state, header.stage))
        if target is None:
            raise RemoteProtocolError(
                "unexpected-message", f"A {header.stage.name} message came while {self.state.value}."
            )
        if header.stage is not Stage.OPEN and header.epoch != self.session.epoch:
            raise RemoteProtocolError("other-epoch", f"A {header.stage.name} message belongs to epoch {header.epoch}.")
        check_size(message, _OPEN_LIMIT if header.stage is Stage.OPEN else payload_limit(self.session, header.stage))
        replies = self._handle(envelope)
        self.state = target
        return replies

    def noise_keys(self) -> tuple[bytes, ...]:
        """The keys of components 1 to J of this hospital's noise in the round that has begun, 32 bytes each.

        Noise that is drawn with one is removed again where enough hospitals survive. Each serves one vector.

        Raises:
            LocalProtocolError: ``out-of-turn``, ``secrets-forgotten``.
        """
        self._require_asked()
        return self._current().noise_keys(self.round)

    def mask(
        self,
        vector: RingVector,
        model_digest: bytes,
        components: Sequence[RingVector] = (),
        logs: Mapping[str, LogPlace] = MappingProxyType({}),
    ) -> bytes:
        """The masked vector of the round that has begun, sealed. The latch is written first.

        Args:
            vector: ring elements, shape (session.length,), all noise included; left unchanged.
            model_digest: of the model that the update starts from; hospitals with another digest cannot be summed with.
            components: what was drawn with each of `noise_keys` and is in ``vector``; shape (session.length,) each.
            logs: how far this site's logs have come: the latch remembers it from the moment that the vector may leave.

        Raises:
            LocalProtocolError: ``out-of-turn``, ``wrong-length``, ``secrets-forgotten``.
            RemoteProtocolError: ``round-already-masked``.
        """
        target, epoch = self._require_asked(), self._current()
        message = seal_masked(epoch, (vector, *components), self.round, model_digest)
        self._latch.record_masked(self._charter.digest, epoch.session.epoch, self.round, logs)
        self.state = target
        return message

    @property
    def tag_key(self) -> bytes:
        """The key of this epoch's tags, 32 bytes; empty until the epoch is set up.

        Not for the coordinator's eyes; it hides no vector. Who keeps it can check the epoch's sums later.
        """
        return self._current().tag_key

    def revealed_for(self, purpose: Purpose, step: int, model: bytes) -> tuple[int, ...]:
        """The survivors over whom alone this site helps to make a sum, or opens it: it has done so before, in this
        epoch or another. Ascending; empty if it has not.

        Args:
            step: of the sum.
            model: digest of the state that it starts from.
        """
        for occasion in (occasion_of(purpose, step), _opening_of(purpose, model)):
            if cohorts := self._latch.cohorts(self._charter.digest, occasion):
                # All are of the same survivors: it reveals for no others, and opens no other sum.
                return tuple(sorted(cohorts[0].survivors))
        return ()

    def take_sum(self) -> VerifiedSum | None:
        """The sum that arrived last, once."""
        taken, self._sum = self._sum, None
        return taken

    def _handle(self, envelope: Envelope) -> list[bytes]:
        match envelope.header.stage:
            case Stage.OPEN:
                return self._open(envelope)
            case Stage.ROSTER:
                return self._deal(decode(envelope.payload, Roster))
            case Stage.DEALS:
                return self._collect(decode(envelope.payload, Deals))
            case Stage.BEGIN:
                self._begin(envelope.header.round, decode(envelope.payload, Begin))
            case Stage.PROPOSE:
                return [self._agree(envelope.header.round, decode(envelope.payload, Propose))]
            case Stage.UNMASK:
                return [self._reveal(envelope.header.round, decode(envelope.payload, Unmask))]
            case Stage.SUM:
                self._finish(envelope)
            case Stage.ABORT:
                if self.state in _WITHIN_A_ROUND:
                    self._require_current(envelope.header.round)
                decode(envelope.payload, Abort)
            case _:
                raise RemoteProtocolError("unexpected-message", "A hospital does not take such a message.")
        return []

    def _open(self, envelope: Envelope) -> list[bytes]:
        proposal = decode(envelope.payload, Open)
        session = Session(self._charter, envelope.header.epoch, proposal.purpose, proposal.first_round, proposal.rounds)
        if not 1 <= session.rounds <= self._charter.charter.epoch_rounds:
            raise RemoteProtocolError(
                "epoch-too-long",
                f"An epoch of {session.rounds} rounds was proposed; the charter allows "
                f"{self._charter.charter.epoch_rounds}.",
                remedy="The coordinator must open one of no more.",
            )
        if session.first_round <= self._latch.last_round(self._charter.digest):
            raise RemoteProtocolError("stale-round", f"Round {session.first_round} is over at this site.")
        before = Sighting(self._latch.last_epoch(self._charter.digest), self._latch.last_round(self._charter.digest))
        seen = self._latch.sightings(self._charter.digest)
        self._latch.record_epoch(self._charter.digest, session.epoch)
        self._epoch = Epoch(session, self.number, self._identity, self._randomness, Memory(before, seen))
        # A round that began but was never masked revealed nothing: for the masks, the new epoch may use its number.
        self.round, self._answered = session.first_round - 1, None
        return [self._epoch.sealer.seal(Stage.ADVERTISE, self._epoch.secrets.advertisement())]

    def _deal(self, payload: Roster) -> list[bytes]:
        epoch = self._current()
        epoch.take_roster(payload)
        shares = share_out(epoch.secrets, epoch.session, epoch.holders_of(self.number), self._randomness)
        if epoch.session.complete:
            epoch.held[self.number] = shares[self.number]
        self._latch.record_seen(self._charter.digest, {peer: Sighting(epoch.session.epoch) for peer in epoch.roster})
        peers = sorted(epoch.recipients_of(self.number))
        return [
            self._sealed_deal(peer, shares, agreed)
            for peer, agreed in zip(peers, epoch.agreed_with(*peers), strict=True)
        ]

    def _sealed_deal(self, peer: int, shares: Mapping[int, HeldShares], agreed: bytes) -> bytes:
        epoch = self._current()
        seen = epoch.memory.of_others.get(peer, NEVER_SEEN)
        held = replace(shares.get(peer, tag_part(epoch.secrets)), sighting=seen)
        deal = seal_deal(epoch.route(self.number, peer), held, agreed)
        return epoch.sealer.seal(Stage.DEAL, deal, recipient=peer)

    def _collect(self, payload: Deals) -> list[bytes]:
        epoch = self._current()
        collected = {}
        for message in payload.deals:
            envelope = open_passed_on(message, epoch.session, Stage.DEAL)
            header = envelope.header
            if (header.stage, header.epoch, header.recipient) != (Stage.DEAL, epoch.session.epoch, self.number):
                raise RemoteProtocolError(
                    "unexpected-message", "DEALS holds a message that is no deal of this epoch for this hospital."
                )
            if header.sender in collected or header.sender not in epoch.dealers:
                raise RemoteProtocolError(
                    "duplicate",
                    "DEALS holds two deals of one member, or one of a member that does not deal to this hospital.",
                )
            deal = decode(envelope.payload, Deal)
            collected[header.sender] = epoch.open_deal(header.sender, deal)
        missing = epoch.dealers - set(collected)
        if missing:
            # A hospital masks with whoever drew it: without that mask, the dealer's vector would never be rid of its
            # own. In a complete graph an agreed survivor set would not hide members with different peers.
            first = epoch.session.name(min(missing))
            raise RemoteProtocolError(
                "deals-missing",
                f"{len(missing)} deals for this hospital are missing, that of {first} first. "
                "The coordinator is to hand out none before it has all.",
                culprit="the coordinator",
                remedy="The coordinator opens a new epoch with those who answer.",
            )
        self._require_not_set_back(collected)
        epoch.take_deals(collected)
        if not epoch.session.encrypted:
            return []
        return [epoch.sealer.seal(Stage.ACKNOWLEDGE, epoch.group.acknowledgement())]

    def _require_not_set_back(self, collected: Mapping[int, HeldShares]) -> None:
        """Others remember this hospital too. What its latch does not know, it might do twice."""
        seen = {dealer: held.sighting for dealer, held in collected.items()}
        witnesses = sorted(dealer for dealer in seen if seen[dealer].is_beyond(self._current().memory.own))
        if not witnesses:
            return
        newest, names = max(seen[dealer] for dealer in witnesses), [self.session.name(dealer) for dealer in witnesses]
        raise RemoteProtocolError(
            "state-restored",
            f"{len(witnesses)} of {len(seen)} others, {names[0]} first, say that they saw this site as late as epoch "
            f"{newest.epoch} and round {newest.round}, of which its latch knows nothing: its folder was restored, "
            "copied or removed, or they lie.",
            culprit=names[0],
            remedy="Put the newest folder back if there is one. If it was lost, this site takes no further part under "
            "this charter: a new one starts afresh. If it was not, ask those who say so: no more than may collude "
            "could be lying.",
        )

    def _begin(self, round_number: int, payload: Begin) -> None:
        self._require_to_come(round_number)
        epoch = self._current()
        epoch.secrets.forget(range(epoch.session.slot(round_number)))
        self.round, self.step, self._answered = round_number, payload.step, None

    def _agree(self, round_number: int, payload: Propose) -> bytes:
        epoch = self._current()
        survivors = self._acceptable(round_number, payload.survivors)
        self._latch.record_agreed(self._charter.digest, epoch.session.epoch, round_number, survivors.numbers)
        self._answered = survivors
        return epoch.sealer.seal(Stage.AGREE, Agree(survivors.digest()), round=round_number)

    def _reveal(self, round_number: int, payload: Unmask) -> bytes:
        epoch = self._current()
        survivors = self._acceptable(round_number, payload.survivors)
        if self._answered not in (None, survivors):
            raise RemoteProtocolError(
                "survivors-changed", "Shares were asked for other survivors than this hospital agreed to."
            )
        if set(epoch.held) - set(survivors.numbers) or not epoch.session.complete:
            self._require_agreement(survivors, payload)
        reveal = shares_for(survivors, payload.inputs_digest, epoch.held, epoch.session, round_number)
        self._latch.record_revealed(
            self._charter.digest, epoch.session.epoch, round_number, survivors.numbers, self._occasion()
        )
        self._answered = survivors
        if epoch.session.encrypted:
            sealed = epoch.group.seal_reveal(reveal, round_number, self.number)
            return epoch.sealer.seal(Stage.REVEAL, sealed, round=round_number)
        return epoch.sealer.seal(Stage.REVEAL, reveal, round=round_number)

    def _acceptable(self, round_number: int, numbers: list[int]) -> Survivors:
        """The survivor set, if this hospital may answer for it at all."""
        epoch = self._current()
        if not epoch.session.masked:
            raise RemoteProtocolError("unexpected-message", "Nothing is masked here, and so there is nothing to give.")
        self._require_current(round_number)
        survivors = Survivors.check(numbers, epoch.session, epoch.participants)
        if self.number not in survivors.numbers:
            raise RemoteProtocolError(
                "not-a-survivor", "An answer was asked of this hospital for a sum that it is not part of."
            )
        self._refuse_differencing(survivors, self._occasion())
        return survivors

    def _refuse_differencing(self, survivors: Survivors, occasion: bytes) -> None:
        """One cohort for each occasion. Cohorts that differ by many are no better: colluders in the difference are
        known, and of several sums some combination may be one hospital's vector.

        In a sparse graph one epoch too: a coordinator can leave a survivor without a mask in common with the others,
        and so without a part in the sum. Within an epoch it is always the same one; in another it might be none.
        """
        session = self.session
        for earlier in self._latch.cohorts(self._charter.digest, occasion):
            if earlier.survivors != frozenset(survivors.numbers):
                changed = sorted(earlier.survivors.symmetric_difference(survivors.numbers))
                names = ", ".join(session.name(number) for number in changed)
                raise RemoteProtocolError(
                    "differencing",
                    f"The same was summed before over other hospitals (the difference: {names}): "
                    "the difference of both sums would show what a few of them sent.",
                    remedy="Begin a round with the same hospitals as before.",
                )
            if not session.complete and earlier.epoch != session.epoch:
                raise RemoteProtocolError(
                    "differencing",
                    f"The same was summed before, in epoch {earlier.epoch}, and among neighbours two sums over the "
                    "same hospitals need not hold the same vectors.",
                    remedy="A step whose shares were revealed is repeated in its own epoch or not at all.",
                )

    def _require_agreement(self, survivors: Survivors, payload: Unmask) -> None:
        try:
            require_agreement(payload.agreements, survivors, self.session, self.round, self._randomness)
        except ForgedAgreementError:
            # Of many agreements some are checked: a second try would be a second chance.
            self.state = CLIENT_TRANSITIONS[self.state, Action.DISTRUST]
            raise

    def _occasion(self) -> bytes:
        return occasion_of(self.session.purpose, self.step)

    def _finish(self, envelope: Envelope) -> None:
        round_number = envelope.header.round
        if self.session.encrypted:
            encrypted = decode(envelope.payload, EncryptedSum)
            result = self._open_sum(encrypted, self._expected(round_number, encrypted))
        else:
            plain = decode(envelope.payload, Sum)
            result = plain_sum(plain, self._expected(round_number, plain), self.session)
        if self.state is ClientState.READY:
            # Not before everything else was checked: a sum that is refused leaves the round to the true one.
            self._begin(round_number, Begin(result.step))
        self._sum = self._verified(result)

    def _expected(self, round_number: int, payload: Sum | EncryptedSum) -> Settled:
        """What a sum says of itself, if it may be that of this round."""
        epoch = self._current()
        settled = settled_by(payload, round_number, epoch.session, epoch.participants)
        if self.state in _NOT_MASKED and self.number in settled.survivors.numbers:
            raise RemoteProtocolError(
                "never-masked",
                "The sum is said to hold a vector of this hospital that it never sent, or that was given up.",
            )
        if self.state is ClientState.READY:
            self._require_to_come(round_number)
            return settled
        self._require_current(round_number)
        if self._answered and settled.survivors != self._answered:
            raise RemoteProtocolError(
                "survivors-changed", "The sum is said to be over other hospitals than those that were unmasked."
            )
        if settled.step != self.step:
            raise RemoteProtocolError("step-changed", "The sum carries another step than the round began with.")
        return settled

    def _open_sum(self, payload: EncryptedSum, settled: Settled) -> RoundSum:
        """Open an encrypted sum: for contributors who signed, and of one cohort for each occasion."""
        epoch = self._current()
        require_contributions(payload.contributions, settled.survivors, epoch.session, settled.round)
        epoch.group.check_sum(payload)
        if not epoch.session.masked:
            # Nothing was revealed that would have been refused before: opening is what reveals.
            # Not of its step, which no tag vouches for: a state is summed from once.
            occasion = _opening_of(epoch.session.purpose, settled.model)
            self._refuse_differencing(settled.survivors, occasion)
            numbers = settled.survivors.numbers
            self._latch.record_opened(self._charter.digest, epoch.session.epoch, numbers, occasion)
        return epoch.group.open_sum(payload, settled)

    def _verified(self, result: RoundSum) -> VerifiedSum:
        epoch = self._current()
        try:
            verified = verify_sum(result, epoch.session, epoch.tag_key)
        except ForgedSumError as forged:
            self.state = CLIENT_TRANSITIONS[self.state, Action.STOP]
            try:
                self._latch.record_stopped(self._charter.digest)
            except SecaggError as unwritten:
                raise forged from unwritten
            raise
        self._latch.record_seen(
            self._charter.digest,
            {member: Sighting(epoch.session.epoch, result.round) for member in result.survivors.numbers},
        )
        return verified

    def _require_asked(self) -> ClientState:
        target = CLIENT_TRANSITIONS.get((self.state, Action.MASK))
        if target is None:
            raise LocalProtocolError("out-of-turn", f"No round has begun: this hospital is {self.state.value}.")
        return target

    def _require_to_come(self, round_number: int) -> None:
        self.session.slot(round_number)
        if round_number <= self.round:
            raise RemoteProtocolError("stale-round", f"Round {round_number} is over at this site.")

    def _require_current(self, round_number: int) -> None:
        if round_number != self.round:
            raise RemoteProtocolError("other-round", f"Round {round_number} is not the one that has begun.")

    def _current(self) -> Epoch:
        if self._epoch is None:
            raise LocalProtocolError("no-epoch", "No epoch has been opened.")
        return self._epoch

    def _limit(self) -> int:
        if self._epoch is None:
            return _OPEN_LIMIT
        limits = [payload_limit(self._epoch.session, stage) for stage in stages_in_turn(self.state)]
        return max(limits, default=_OPEN_LIMIT)


def occasion_of(purpose: Purpose, step: int) -> bytes:
    """Stands for what is being summed: sums with the same occasion can be subtracted from one another.

    Whatever state they start from: hospitals can be led to the same model by other rounds, and so in another state.
    """
    return digest("occasion", b"", purpose, step)


def _opening_of(purpose: Purpose, model: bytes) -> bytes:
    """The same for sums that are opened, and over whom nobody has agreed: of each state one."""
    return digest("opening", model, purpose)
