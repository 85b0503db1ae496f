"""A coordinator that may do anything: sends any message to any hospital, keeps all it is sent, and tries to unmask.

It runs real clients over their real messages. A script calls its steps in any order, with any argument; what it has
learned so far is what `rebuild` and `strip` can make of the shares it was given.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress

import msgspec
import numpy as np
import numpy.typing as npt

from secagg.charter import VerifiedCharter
from secagg.encoding import pack, unpack
from secagg.encoding.ring import RingVector
from secagg.labels import DIGEST_SIZE
from secagg.masking import MaskingClient, Purpose, Session, Survivors, kdf, shamir
from secagg.masking.dealing import MASK_KEY, SELF_MASK_SEED, HeldShares
from secagg.masking.kdf import Secret
from secagg.masking.keystream import SignedKey, add_masks
from secagg.masking.messages import (
    Abort,
    Advertise,
    Agree,
    Agreement,
    Begin,
    Deals,
    Masked,
    Open,
    Propose,
    Reveal,
    Roster,
    SealedReveal,
    Sum,
    Unmask,
    nth,
)
from secagg.masking.shamir import SHARE_SIZE
from secagg.masking.verification import ForgedSumError
from secagg.wire import COORDINATOR, Envelope, Sealer, Stage, open_envelope
from secagg.wire.envelope import decode, peek
from training.testbed.consortium import MODEL_DIGEST

_ANY_SIZE = 1 << 30


def detached(message: bytes) -> Agreement:
    """What an UNMASK message shows of an AGREE envelope; of any other just as well."""
    header = peek(message)
    signature = msgspec.msgpack.decode(message)[1]
    return Agreement(sender=header.sender, sequence=header.sequence, signature=signature)


class LyingCoordinator:
    """One epoch, driven by hand.

    Args:
        colluders: members that hand over all they know: the shares they hold and their own secrets. They sign any
            agreement the coordinator asks for, to any number of survivor sets.

    Attributes:
        advertisements, deals, acknowledgements, masked: the signed messages it was sent, by member (deals by dealer and
            recipient).
        agreements: the signed agreements it was sent, by round and survivor set, then by member.
        shares: every share it has seen of this round, by (owner, kind of secret), then by who held it.
        dealt_to: who has taken the deals it was given.
    """

    def __init__(
        self,
        charter: VerifiedCharter,
        clients: Mapping[int, MaskingClient],
        *,
        epoch: int = 1,
        first_round: int = 1,
        rounds: int | None = None,
        colluders: Collection[int] = (),
        purpose: Purpose = Purpose.TRAINING,
    ) -> None:
        self.session = Session(charter, epoch, purpose, first_round, rounds or charter.charter.epoch_rounds)
        self.clients = clients
        self.colluders = frozenset(colluders)
        self.round = first_round - 1
        self.advertisements: dict[int, bytes] = {}
        self.deals: dict[tuple[int, int], bytes] = {}
        self.acknowledgements: dict[int, bytes] = {}
        self.masked: dict[int, bytes] = {}
        self.agreements: defaultdict[tuple[int, tuple[int, ...]], dict[int, bytes]] = defaultdict(dict)
        self.shares: defaultdict[tuple[int, Secret], dict[int, bytes]] = defaultdict(dict)
        self.dealt_to: set[int] = set()
        self._dealers: dict[int, frozenset[int]] = {}

    @property
    def everybody(self) -> list[int]:
        """The numbers of all members."""
        return sorted(self.clients)

    def all_but(self, *numbers: int) -> list[int]:
        """The numbers of all other members."""
        return [number for number in self.everybody if number not in numbers]

    def forge(
        self,
        stage: Stage,
        payload: msgspec.Struct,
        *,
        round_number: int = 0,
        recipient: int = COORDINATOR,
        epoch: int | None = None,
    ) -> bytes:
        """Any message of the coordinator's: it is unsigned, so anybody can make one."""
        sealer = Sealer(self.session.charter, COORDINATOR, None, self.session.epoch if epoch is None else epoch)
        return sealer.seal(stage, payload, recipient=recipient, round=round_number)

    def open(self, numbers: Iterable[int] | None = None) -> None:
        """Open the epoch; keep the advertisements."""
        session = self.session
        message = self.forge(
            Stage.OPEN, Open(purpose=session.purpose, first_round=session.first_round, rounds=session.rounds)
        )
        for number in self.everybody if numbers is None else numbers:
            (self.advertisements[number],) = self.clients[number].receive(message)

    def send_roster(self, numbers: Iterable[int] | None = None, advertisements: Sequence[bytes] | None = None) -> None:
        """Show ``advertisements`` (all that came, if none are given) to ``numbers`` (everybody); keep the deals."""
        shown = [self.advertisements[number] for number in sorted(self.advertisements)]
        message = self.roster(shown if advertisements is None else advertisements)
        for number in self.everybody if numbers is None else numbers:
            for reply in self.clients[number].receive(message):
                self.deals[number, self.read(reply).header.recipient] = reply

    def roster(self, advertisements: Sequence[bytes]) -> bytes:
        """A ROSTER message."""
        named = sorted({peek(message).sender for message in advertisements})
        shown = [memoryview(message) for message in advertisements]
        return self.forge(Stage.ROSTER, Roster(participants=named, advertisements=shown))

    def with_exchanged(self, number: int, advertisement: bytes) -> list[bytes]:
        """All advertisements, but another in the place of one member's."""
        return [advertisement if member == number else self.advertisements[member] for member in self.everybody]

    def send_deals(self, numbers: Iterable[int] | None = None, dealers: Collection[int] | None = None) -> None:
        """Hand ``numbers`` (everybody) the deals of ``dealers`` (all)."""
        for number in self.everybody if numbers is None else numbers:
            chosen = {
                dealer: message
                for (dealer, recipient), message in sorted(self.deals.items())
                if recipient == number and (dealers is None or dealer in dealers)
            }
            for reply in self.clients[number].receive(self.deal_bundle(number, list(chosen.values()))):
                self.acknowledgements[number] = reply
            self._dealers[number] = frozenset(chosen) | {number}
            self.dealt_to.add(number)

    def deal_bundle(self, recipient: int, deals: Sequence[bytes]) -> bytes:
        """A DEALS message."""
        payload = Deals(deals=[memoryview(message) for message in deals])
        return self.forge(Stage.DEALS, payload, recipient=recipient)

    def set_up(self) -> None:
        """An honest set-up."""
        self.open()
        self.send_roster()
        self.send_deals()

    def adopt(self, sent: Iterable[tuple[int, bytes]]) -> None:
        """Go on from a set-up that an honest coordinator made, of which it has seen what hospitals ``sent``."""
        self.advertisements = {
            number: message for number, message in sent if self.read(message).header.stage is Stage.ADVERTISE
        }
        self.know_holders(self.everybody)

    def know_holders(self, numbers: Iterable[int]) -> None:
        """Note whose shares each of these holds: it can tell by who was shown to whom."""
        self._dealers = {number: frozenset(self.clients[number]._current().held) for number in numbers}

    def begin(self, numbers: Iterable[int] | None = None, step: int = 1) -> None:
        """Begin the next round."""
        self.round += 1
        message = self.forge(Stage.BEGIN, Begin(step=step), round_number=self.round)
        for number in self.everybody if numbers is None else numbers:
            self.clients[number].receive(message)

    def collect(self, vectors: Mapping[int, RingVector], model: bytes = MODEL_DIGEST) -> None:
        """Take the masked vector of everyone in ``vectors``; colluders tell all they know."""
        self.shares.clear()
        for number, vector in vectors.items():
            self.masked[number] = self.clients[number].mask(vector, model)
        for colluder in self.colluders:
            self._hand_over(colluder)

    def start_round(self, vectors: Mapping[int, RingVector], step: int = 1) -> None:
        """Begin a round and take everybody's masked vector."""
        self.begin(step=step)
        self.collect(vectors)

    def propose(self, number: int, survivors: Iterable[int]) -> bytes:
        """Propose ``survivors`` to one hospital and keep the agreement it signs."""
        named = tuple(survivors)
        (reply,) = self.clients[number].receive(self.proposal(named))
        self.agreements[self.round, named][number] = reply
        return reply

    def proposal(self, survivors: Iterable[int]) -> bytes:
        """A PROPOSE message."""
        return self.forge(Stage.PROPOSE, Propose(survivors=list(survivors)), round_number=self.round)

    def sign_for(self, colluder: int, survivors: Iterable[int], **header: int) -> bytes:
        """A colluder's agreement to any set, for any epoch and round."""
        sealer = Sealer(
            self.session.charter, colluder, self.clients[colluder]._identity, header.get("epoch", self.session.epoch)
        )
        agree = Agree(survivors_digest=Survivors(tuple(survivors)).digest())
        return sealer.seal(Stage.AGREE, agree, round=header.get("round", self.round))

    def agreements_to(self, survivors: Iterable[int]) -> list[bytes]:
        """All agreements that it can show to this round's ``survivors``, those of its colluders among them."""
        named = tuple(survivors)
        forged = {colluder: self.sign_for(colluder, named) for colluder in self.colluders if colluder in named}
        return list((self.agreements[self.round, named] | forged).values())

    def ask(
        self, number: int, survivors: Iterable[int], agreements: Sequence[bytes] | None = None
    ) -> Reveal | SealedReveal:
        """Name ``survivors`` to one hospital, with all agreements to them, and keep the shares it reveals."""
        named = tuple(survivors)
        (reply,) = self.clients[number].receive(self.unmask_request(named, agreements))
        reveal = decode(self.read(reply).payload, Reveal)
        dropped = self._dealers[number] - set(named)
        if len(reveal.mask_key_shares) > len(dropped) * SHARE_SIZE:
            # A hospital that gives more takes those who are named twice for both.
            dropped |= {owner for owner in named if named.count(owner) > 1}
        for secret, owners, shares in (
            (Secret.SELF_MASK_SEED, sorted(set(named) & self._dealers[number]), reveal.seed_shares),
            (Secret.MASK_KEY, sorted(dropped), reveal.mask_key_shares),
        ):
            for index, owner in enumerate(owners):
                if owner not in self.colluders:  # Their secrets are known, and here dealt anew: see `_hand_over`.
                    self.shares[owner, secret][number] = nth(shares, index)
        return reveal

    def unmask(self, survivors: Sequence[int]) -> None:
        """What an honest coordinator does: have all survivors agree, then ask all of them."""
        honest = [number for number in survivors if number not in self.colluders]
        if len(survivors) < len(self.clients):
            for number in honest:
                self.propose(number, survivors)
        for number in honest:
            self.ask(number, survivors)

    def sum_over(
        self, vectors: Mapping[int, RingVector], survivors: Sequence[int], step: int = 1
    ) -> npt.NDArray[np.int64]:
        """An honest-looking round in which only ``survivors`` are said to have answered; as signed integers."""
        self.start_round(vectors, step)
        self.unmask(survivors)
        return self.session.ring.to_signed(self.unmask_sum(survivors)[0])

    def unmask_request(self, survivors: Iterable[int], agreements: Sequence[bytes] | None = None) -> bytes:
        """An UNMASK message, with all agreements unless some are given."""
        named = tuple(survivors)
        shown = self.agreements_to(named) if agreements is None else agreements
        agreements_shown = sorted((detached(message) for message in shown), key=lambda agreement: agreement.sender)
        payload = Unmask(survivors=list(named), inputs_digest=bytes(DIGEST_SIZE), agreements=agreements_shown)
        return self.forge(Stage.UNMASK, payload, round_number=self.round)

    def sum_message(
        self,
        survivors: Iterable[int],
        packed: bytes | bytearray,
        step: int = 1,
        tag: int = 0,
        model: bytes = MODEL_DIGEST,
    ) -> bytes:
        """A SUM message with any content."""
        tag_bytes = tag.to_bytes(self.session.tag_size, "little")
        payload = Sum(
            step=step, survivors=list(survivors), model_digest=model, vector=memoryview(packed), tag=tag_bytes
        )
        return self.forge(Stage.SUM, payload, round_number=self.round)

    def zero_sum(self, survivors: Iterable[int], step: int = 1) -> bytes:
        """A forged sum that would leave the model as it is."""
        return self.sum_message(survivors, bytes(self.session.vector_bytes), step)

    def stop(self, number: int, survivors: Iterable[int]) -> None:
        """Give a hospital a forged sum."""
        with suppress(ForgedSumError):
            self.clients[number].receive(self.zero_sum(survivors))

    def honest_sum(self, survivors: Iterable[int], step: int = 1) -> bytes:
        """The sum over ``survivors``, once t of them have revealed, with its tag: nothing forged."""
        named = tuple(survivors)
        total, tag = self.unmask_sum(named)
        model = self.masked_payload(named[0]).model_digest
        return self.sum_message(named, pack(total, self.session.ring), step, tag, model)

    def abort_message(self) -> bytes:
        """An ABORT message."""
        return self.forge(Stage.ABORT, Abort(reason="because"), round_number=self.round)

    def advertised(self, owner: int) -> Advertise:
        """What a member advertised."""
        return decode(self.read(self.advertisements[owner]).payload, Advertise)

    def rebuild(self, owner: int, secret: Secret) -> bytes | None:
        """A hospital's secret of this round; None unless t shares give what it advertised."""
        shares = self.shares[owner, secret]
        if len(shares) < self.session.share_threshold:
            return None
        rebuilt = shamir.reconstruct(dict(sorted(shares.items())[: self.session.share_threshold]))
        advertised = self.advertised(owner)
        match secret:
            case Secret.SELF_MASK_SEED:
                wanted = nth(advertised.seed_commitments, self.session.seed_place(self.round))
                fits = kdf.self_mask_commitment(rebuilt, self.session, self.round, owner) == wanted
            case Secret.MASK_KEY:
                fits = kdf.public_key(rebuilt) == nth(advertised.mask_keys, self.session.slot(self.round))
        return rebuilt if fits else None

    def strip(self, victim: int, neighbours: Collection[int]) -> npt.NDArray[np.int64] | None:
        """The victim's own vector, if its self-mask and every mask it shares with ``neighbours`` can be computed."""
        payload = self.masked_payload(victim)
        seed = self.rebuild(victim, Secret.SELF_MASK_SEED)
        if seed is None:
            return None
        keys = [SignedKey(kdf.self_mask_key(seed, self.session, self.round, payload.model_digest, victim), -1)]
        pairwise = self.pairwise_keys(victim, neighbours)
        return None if pairwise is None else self.without(victim, [*keys, *pairwise])

    def pairwise_keys(self, victim: int, neighbours: Collection[int]) -> list[SignedKey] | None:
        """What takes the masks that the victim shares with ``neighbours`` off its vector; None if one is unknown."""
        model = self.masked_payload(victim).model_digest
        keys = []
        for peer in sorted(set(neighbours) - {victim}):
            shared = self._shared_secret(victim, peer)
            if shared is None:
                return None
            key = kdf.pairwise_mask_key(shared, self.session, self.round, model, (victim, peer))
            keys.append(SignedKey(key, -1 if victim < peer else 1))
        return keys

    def without(self, victim: int, keys: Sequence[SignedKey]) -> npt.NDArray[np.int64]:
        """The victim's masked vector without these masks, as signed integers."""
        vector = unpack(self.masked_payload(victim).vector, self.session.length, self.session.ring)
        add_masks(vector, keys)
        return self.session.ring.to_signed(vector)

    def masked_payload(self, owner: int) -> Masked:
        """What a member's masked vector carries."""
        return decode(self.read(self.masked[owner]).payload, Masked)

    def unmask_sum(self, survivors: Collection[int], gone: Collection[int] | None = None) -> tuple[RingVector, int]:
        """Sum and sum of tags over ``survivors``, once t of them have revealed: what an honest coordinator computes.

        Args:
            gone: with whom they share masks that must be taken off; all others, if not given.
        """
        total, tag = self.session.ring.zeros(self.session.length), 0
        keys = []
        for owner in survivors:
            payload = self.masked_payload(owner)
            total += unpack(payload.vector, self.session.length, self.session.ring)
            tag += int.from_bytes(payload.tags[: self.session.tag_size], "little")
            seed = self.rebuild(owner, Secret.SELF_MASK_SEED) or bytes(32)
            keys.append(SignedKey(kdf.self_mask_key(seed, self.session, self.round, payload.model_digest, owner), -1))
            keys += self.pairwise_keys(owner, set(self.clients) - set(survivors) if gone is None else gone) or []
        (tag,) = add_masks(total, keys, [tag], self.session.tag_size)
        return total, tag

    def read(self, message: bytes) -> Envelope:
        """A message, opened."""
        return open_envelope(message, self.session.charter, _ANY_SIZE)

    def _shared_secret(self, victim: int, peer: int) -> bytes | None:
        """A pair's secret can be had with the mask key of either."""
        for own, other in ((victim, peer), (peer, victim)):
            private = self.rebuild(own, Secret.MASK_KEY)
            if private is not None:
                public = nth(self.advertised(other).mask_keys, self.session.slot(self.round))
                return kdf.agree(private, public, self.session.name(other))
        return None

    def _hand_over(self, colluder: int) -> None:
        """All that a colluder's client holds in memory."""
        epoch = self.clients[colluder]._current()
        slot = self.session.slot(self.round)
        held: dict[int, HeldShares] = epoch.held
        for owner, shares in held.items():
            self.shares[owner, Secret.SELF_MASK_SEED][colluder] = shares.rounds[slot][SELF_MASK_SEED]
            self.shares[owner, Secret.MASK_KEY][colluder] = shares.rounds[slot][MASK_KEY]
        # Its own secrets need no shares: dealt anew, to as many as it takes.
        for secret, value in (
            (Secret.SELF_MASK_SEED, epoch.secrets.rounds[slot][SELF_MASK_SEED]),
            (Secret.MASK_KEY, epoch.secrets.rounds[slot][MASK_KEY]),
        ):
            points = list(self.session.members)
            dealt = shamir.share(value, self.session.threshold, points, np.random.default_rng(0).bytes)
            self.shares[colluder, secret] = dict(zip(points, dealt, strict=True))
