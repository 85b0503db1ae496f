"""The coordinator's part in one round: vectors are collected, survivors agreed to, and masks taken off their sum.

Knows vectors as bytes, signatures and shares. Knows no secret and nothing of states: `secagg.masking.server` decides
when.
"""

from __future__ import annotations

from collections.abc import Iterable

from secagg.encoding import pack
from secagg.errors import LocalProtocolError, RemoteProtocolError
from secagg.masking.agreement import detach_agreement
from secagg.masking.asked import Asked
from secagg.masking.collection import VectorSum
from secagg.masking.contributions import detach_contribution, inputs_digest
from secagg.masking.dealt import Dealt
from secagg.masking.encrypted_sum import EncryptedSumPayload
from secagg.masking.messages import (
    Agree,
    Agreement,
    EncryptedSum,
    Masked,
    Reveal,
    SealedReveal,
    Sum,
    Unmask,
)
from secagg.masking.noise import NoiseExpansion
from secagg.masking.sealed_reveals import SealedReveals
from secagg.masking.session import Settled, Survivors
from secagg.masking.unmasking import Unmasking
from secagg.wire import Envelope, Header, Sealer, Stage
from secagg.wire.envelope import decode, decode_exactly


class ServerRound:
    """One sum: rounds 2 to 4 of Bonawitz et al. 2017 (MaskedInputCollection, ConsistencyCheck, Unmasking).

    Args:
        dealt: in the epoch's set-up.
        asked: the survivors whose shares of this step were asked for in an earlier round.

    Attributes:
        number: counted across epochs, as on the wire.
        step: which applied sum of the training this round's is to be.
        begun: who is told to mask: only those asked before, if all of them take part.
        collection: the vectors so far.
        agreements: of those who agreed to the survivors, by member number.
        result: the sum, without its vector where that is encrypted; None until there is one.
    """

    def __init__(self, dealt: Dealt, number: int, step: int, asked: Iterable[int]) -> None:
        self.number = number
        self.step = step
        self.collection = VectorSum(dealt.session)
        self.agreements: dict[int, Agreement] = {}
        self.result: Settled | None = None
        self._session = dealt.session
        self._dealt = dealt
        self._asked = frozenset(asked)
        self.begun = self._asked if self._asked and self._asked <= dealt.participants else dealt.participants
        self._settled: Settled | None = None
        self._unmasking: Unmasking | SealedReveals | None = None

    @property
    def settled(self) -> Settled:
        """What the sum is taken over.

        Raises:
            LocalProtocolError: ``out-of-turn``, before `settle`.
        """
        if self._settled is None:
            raise LocalProtocolError("out-of-turn", "Vectors are still collected.")
        return self._settled

    @property
    def survivors(self) -> tuple[int, ...]:
        """Whose vectors are in the sum, ascending; see `settled`."""
        return self.settled.survivors.numbers

    def take_masked(self, envelope: Envelope) -> None:
        """Add one hospital's vector.

        Raises:
            RemoteProtocolError: ``other-round`` or ``not-asked``, naming the hospital, and as `VectorSum.add`.
            WorkerLostError: what was added up so far is lost; it was not added.
        """
        header, name = envelope.header, self._name_of(envelope)
        self._require_begun(header, name)
        self.collection.add(header.sender, name, decode(envelope.payload, Masked), detach_contribution(envelope))

    def _require_begun(self, header: Header, name: str) -> None:
        if header.round != self.number:
            raise RemoteProtocolError("other-round", f"{name} masked another round.", culprit=name)
        if header.sender not in self.begun:
            # With its vector the cohort would be one that those who gave shares refuse.
            raise RemoteProtocolError("not-asked", f"{name} masked a round that was begun without it.", culprit=name)

    def settle(self) -> None:
        """End the collection: the sum is taken over those who start from the model that most start from.

        Raises:
            RemoteProtocolError: ``below-threshold``, where fewer than t do.
        """
        model, senders = self.collection.largest()
        survivors = Survivors.check(sorted(senders), self._session, self._dealt.participants)
        self._settled = Settled(self.number, self.step, survivors, model)

    @property
    def needs_agreement(self) -> bool:
        """Whether survivors are agreed to before shares are asked for: `secagg.masking.states` says when."""
        all_masked = self._dealt.participants == frozenset(self.survivors)
        return not all_masked or not self._session.complete or bool(self._asked)

    def take_agreement(self, envelope: Envelope) -> None:
        """Take one survivor's signature of the survivors.

        Raises:
            RemoteProtocolError: ``not-a-survivor``, ``malformed`` or ``survivors-changed``, naming the hospital.
        """
        header, name = envelope.header, self._name_of(envelope)
        self._require_survivor(header.sender, name)
        agree = decode_exactly(envelope.payload, Agree, name)
        if header.round != self.number or agree.survivors_digest != self.settled.survivors.digest():
            raise RemoteProtocolError("survivors-changed", f"{name} agreed to other survivors.", culprit=name)
        self.agreements[header.sender] = detach_agreement(envelope)

    def _require_survivor(self, sender: int, name: str) -> None:
        """Hospitals refuse whatever is shown to them in the name of one that is not in the sum."""
        if sender not in self.survivors:
            raise RemoteProtocolError(
                "not-a-survivor", f"{name} answered for a sum that it is not part of.", culprit=name
            )

    def ask_for_shares(self, noise: NoiseExpansion) -> Unmask:
        """Begin to take masks off: what survivors are shown. ``noise`` draws again what surplus is removed."""
        inputs = inputs_digest(self._dealt.advertised, self.collection.contributions_of(self.settled.model))
        asked = Asked(self.settled, inputs)
        if self._session.encrypted:
            self._unmasking = SealedReveals(self._session, asked, len(self._dealt.participants))
        else:
            self._unmasking = Unmasking(self._session, asked, self._dealt, noise)
        agreements = [agreement for _, agreement in sorted(self.agreements.items())]
        return Unmask(list(self.survivors), inputs, agreements)

    def take_reveal(self, envelope: Envelope) -> None:
        """Take one survivor's shares.

        Raises:
            RemoteProtocolError: ``not-a-survivor``, naming the hospital, and as `Unmasking.add` or `SealedReveals.add`.
        """
        sender = envelope.header.sender
        self._require_survivor(sender, self._name_of(envelope))
        match self._unmasking:
            case Unmasking():
                self._unmasking.add(sender, decode(envelope.payload, Reveal))
            case SealedReveals():
                self._unmasking.add(sender, decode(envelope.payload, SealedReveal))

    @property
    def responders(self) -> frozenset[int]:
        """Who has revealed shares."""
        return frozenset(self._unmasking.responders) if self._unmasking else frozenset()

    @property
    def enough_revealed(self) -> bool:
        """Whether every secret can be rebuilt; see `Unmasking` and `SealedReveals`."""
        return self._unmasking is not None and self._unmasking.enough

    def unmask(self) -> Sum:
        """The sum, without masks and surplus noise.

        Raises:
            RemoteProtocolError: ``wrong-dealing``: there is none.
            LocalProtocolError: ``out-of-turn``, where no shares were asked for.
        """
        settled, ring = self.settled, self._session.ring
        if not isinstance(self._unmasking, Unmasking):
            raise LocalProtocolError("out-of-turn", "No shares were asked for that take masks off.")
        total = self.collection.packed_sum_of(settled.model)
        tag = self._unmasking.unmask(total, self.collection.tags_of(settled.model))
        ring.reduce(total)
        self.result = settled.summed(total, tag)
        packed, tag_bytes = pack(total, ring), tag.to_bytes(self._session.tag_size, "little")
        return Sum(settled.step, list(self.survivors), settled.model, memoryview(packed), tag_bytes)

    def seal_encrypted_sum(self, sealer: Sealer) -> bytes:
        """The message with the encrypted sum, and with the sealed shares where it is masked too.

        Raises:
            WorkerLostError: what was added up is lost; there is no sum.
        """
        settled, collection, size = self.settled, self.collection, self._session.tag_size
        model, numbers = settled.model, list(self.survivors)
        tag = collection.tags_of(model)[0] % (1 << 8 * size)
        contributions = collection.contributions_of(model)
        reveals = self._unmasking.revealed() if isinstance(self._unmasking, SealedReveals) else []
        blank = EncryptedSum(
            settled.step, numbers, model, tag.to_bytes(size, "little"), contributions, reveals, memoryview(b"")
        )
        payload, take = EncryptedSumPayload(blank, self._session.sum_bytes), collection.ciphertexts_of(model).take
        message = sealer.seal_in_place(
            Stage.SUM, payload.size, lambda view: payload.write(view, take), round=self.number
        )
        self.result = settled
        return message

    def _name_of(self, envelope: Envelope) -> str:
        return self._session.name(envelope.header.sender)
