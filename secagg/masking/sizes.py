"""How many messages and bytes the protocol takes, for a consortium that need not exist yet.

Knows the payloads, the envelope and how large ciphertexts are. Encodes them with zeros in place of keys, shares and
vectors, so that what it says is what would be sent; where hospitals differ, it counts an average one. Above 126
hospitals, where numbers and counters take more than a byte, it may be a few bytes off in a message.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, TypeVar

import msgspec

from secagg.charter import Charter
from secagg.charter.sections import ENCRYPTED_SCHEMES, MASKED_SCHEMES, Scheme
from secagg.encoding.packing import packed_size
from secagg.encoding.ring import Ring
from secagg.errors import InputError
from secagg.graph import Graph
from secagg.homomorphic.form import EncryptedForm, form_of
from secagg.homomorphic.parameters import DEFAULT_PARAMETERS
from secagg.identity import SIGNATURE_SIZE
from secagg.labels import DIGEST_SIZE
from secagg.masking.agreement import sample_size
from secagg.masking.limits import sealed_size_of
from secagg.masking.messages import (
    AEAD_OVERHEAD,
    KEY_SIZE,
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
    ResponderReveal,
    Reveal,
    Roster,
    SealedReveal,
    Sum,
    Unmask,
)
from secagg.masking.noise import removed_components
from secagg.masking.session import Purpose, Session
from secagg.masking.shamir import SHARE_SIZE
from secagg.masking.tags import tag_size
from secagg.wire.envelope import COORDINATOR, bin_head, sealed_size
from secagg.wire.stage import Stage

_LARGEST_BYTE_STRING: Final = (1 << 32) - 1
_Bytes = TypeVar("_Bytes", int, float)


@dataclass(frozen=True)
class Shape:
    """What the sizes follow from.

    Attributes:
        members: n, all of whom take part.
        threshold: t.
        dropped: how many of them send no vector.
        length: elements of a vector, d and what goes with it.
        bits: b, of an element.
        rounds: E, of a key set-up.
        graph: None if everybody masks with everybody, or has to do with everybody as under the encrypted schemes.
        parameter_set: what ciphertexts are made with, where there are any.
        noise_levels: numbers of survivors, falling, from which on a component of noise is removed; as in a charter.
    """

    members: int
    threshold: int
    dropped: int
    length: int
    bits: int
    rounds: int
    graph: Graph | None
    scheme: Scheme = "mask"
    parameter_set: str = DEFAULT_PARAMETERS
    noise_levels: tuple[int, ...] = ()

    @classmethod
    def of(cls, session: Session) -> Shape:
        """That of an epoch in which nobody drops out."""
        return replace(
            cls.of_training(session.charter.charter),
            length=session.length,
            bits=session.ring.bits,
            rounds=session.rounds,
            noise_levels=session.noise_levels,
        )

    @classmethod
    def of_training(cls, charter: Charter) -> Shape:
        """That of an epoch of training in which nobody drops out, under a charter that nobody need have signed yet."""
        graph = charter.graph
        return cls(
            members=len(charter.members),
            threshold=charter.threshold,
            dropped=0,
            length=charter.update_length,
            bits=charter.encoding.field_bits,
            rounds=charter.epoch_rounds,
            graph=Graph(graph.degree, graph.threshold) if graph.degree else None,
            scheme=charter.scheme,
            parameter_set=charter.homomorphic.parameters,
            noise_levels=charter.privacy.noise_levels,
        )

    @property
    def masked(self) -> bool:
        """Whether vectors are masked, so that secrets are shared and revealed."""
        return self.scheme in MASKED_SCHEMES

    @property
    def encrypted(self) -> bool:
        """Whether vectors are encrypted, so that hospitals open the sum."""
        return self.scheme in ENCRYPTED_SCHEMES

    @property
    def secret_rounds(self) -> int:
        """For how many rounds secrets are shared at a key set-up."""
        return self.rounds if self.masked else 0

    @property
    def seeds_a_round(self) -> int:
        """How many seeds a hospital shares for each round: of its own mask, and of each component of noise."""
        return 1 + len(self.noise_levels)

    @property
    def shared_secrets(self) -> int:
        """How many secrets a hospital shares at a key set-up: for each round its seeds and its mask key."""
        return self.secret_rounds * (self.seeds_a_round + 1)

    @property
    def removed_component_count(self) -> int:
        """How many components of everybody's noise are removed from a sum."""
        return len(removed_components(self.noise_levels, self.survivors))

    @property
    def form(self) -> EncryptedForm:
        """How vectors are encrypted.

        Raises:
            ValueError: where they are not.
        """
        return form_of(self.scheme, self.parameter_set, Ring(self.bits), self.length, self.members)

    @property
    def vector_bytes(self) -> int:
        """A hospital's vector as it is sent."""
        return self.form.fresh_size if self.encrypted else packed_size(self.length, self.bits)

    @property
    def sum_bytes(self) -> int:
        """A sum of vectors as it is sent."""
        return self.form.sum_size if self.encrypted else packed_size(self.length, self.bits)

    @property
    def survivors(self) -> int:
        """How many send a vector."""
        return self.members - self.dropped

    @property
    def holders(self) -> int:
        """How many others hold a hospital's shares, and, on average, how many others' shares a hospital holds.

        Where nothing is masked, they get its part of the keys that all have in common, and no shares.
        """
        return self.graph.degree if self.graph else self.members - 1

    @property
    def share_threshold(self) -> int:
        """How many holders rebuild a hospital's secret."""
        return self.graph.threshold if self.graph else self.threshold

    @property
    def peers(self) -> float:
        """With how many a hospital masks, on average: whom it drew, and who drew it."""
        if self.graph is None:
            return self.members - 1
        return self.holders * (2 - self.holders / (self.members - 1))

    @property
    def lone_masks(self) -> float:
        """How many masks in a sum, on average, lack their counterpart: of a survivor with a peer that is gone."""
        return self.dropped * self.peers * self.survivors / (self.members - 1)

    @property
    def needs_agreement(self) -> bool:
        """Whether survivors have to be agreed to in a round."""
        return self.masked and (self.graph is not None or self.dropped > 0)

    @property
    def agreements(self) -> int:
        """How many agreements a survivor is shown."""
        if not self.needs_agreement:
            return 0
        return self.survivors if self.graph else self.threshold

    @property
    def checked_agreements(self) -> int:
        """How many of them it checks."""
        return sample_size(self.agreements, self.threshold) if self.needs_agreement else 0


@dataclass(frozen=True)
class Traffic:
    """What passes between an average hospital and the coordinator.

    Attributes:
        messages_up, messages_down: sent and received.
        bytes_up, bytes_down: the same in bytes, engines' own framing left out.
    """

    messages_up: float
    messages_down: float
    bytes_up: float
    bytes_down: float


def set_up_traffic(shape: Shape) -> Traffic:
    """The traffic of one key set-up."""
    middle = _middle(shape)
    advertisement = sealed_size(Stage.ADVERTISE, _advertise(shape), sender=middle)
    deal, tag_deal = _deal_size(middle, shape.shared_secrets), _deal_size(middle, 0)
    # Whoever deals the tag key deals it to everybody who holds no shares of it.
    tag_deals = (shape.members - 1 - shape.holders) / shape.members
    shown = shape.peers + 1 + (tag_deals if shape.graph else 0)
    roster = Roster(list(range(1, shape.members + 1)), [])
    up = [advertisement, shape.holders * deal, tag_deals * tag_deal]
    messages = 1 + shape.holders + tag_deals
    if shape.encrypted:
        up.append(_acknowledgement_size(shape, middle))
        messages += 1
    down = [
        sealed_size(Stage.OPEN, Open(Purpose.TRAINING, 1, shape.rounds)),
        _with_messages(Stage.ROSTER, roster, middle if shape.graph else COORDINATOR, [(shown, advertisement)]),
        _with_messages(Stage.DEALS, Deals([]), middle, [(shape.holders, deal), (tag_deals, tag_deal)]),
    ]
    return Traffic(messages, len(down), sum(up), sum(down))


def round_traffic(shape: Shape) -> Traffic:
    """The traffic of one round, for a hospital that does not drop.

    Raises:
        InputError: ``too-large``, if a vector or the sum is longer than a message can be.
    """
    middle, numbers = _middle(shape), _survivors(shape)
    up = [_with_vector(shape, Stage.MASKED, _masked(shape), shape.vector_bytes, sender=middle)]
    down = [sealed_size(Stage.BEGIN, Begin(1), round=1), _with_vector(shape, Stage.SUM, _sum(shape), shape.sum_bytes)]
    if shape.needs_agreement:
        up.append(sealed_size(Stage.AGREE, Agree(bytes(DIGEST_SIZE)), sender=middle, round=1))
        down.append(sealed_size(Stage.PROPOSE, Propose(numbers), round=1))
    if shape.masked:
        agreements = [Agreement(number, shape.holders, bytes(SIGNATURE_SIZE)) for number in numbers[: shape.agreements]]
        up.append(sealed_size(Stage.REVEAL, _reveal(shape), sender=middle, round=1))
        down.append(sealed_size(Stage.UNMASK, Unmask(numbers, bytes(DIGEST_SIZE), agreements), round=1))
    return Traffic(len(up), len(down), sum(up), sum(down))


def _middle(shape: Shape) -> int:
    return shape.members // 2 + 1


def _survivors(shape: Shape) -> list[int]:
    return list(range(1, shape.survivors + 1))


def _masked(shape: Shape) -> Masked:
    tags = 1 + len(shape.noise_levels)
    return Masked(bytes(DIGEST_SIZE), memoryview(b""), bytes(tags * tag_size(Ring(shape.bits))))


def _sum(shape: Shape) -> Sum | EncryptedSum:
    model, tag, numbers = bytes(DIGEST_SIZE), bytes(tag_size(Ring(shape.bits))), _survivors(shape)
    if not shape.encrypted:
        return Sum(1, numbers, model, memoryview(b""), tag)
    # The first vector is sent after a hospital's part of the set-up: messages are counted.
    contribution = Contribution(shape.holders + 2, bytes(DIGEST_SIZE), bytes(SIGNATURE_SIZE))
    reveals = [ResponderReveal(number, bytes(_sealed_shares(shape))) for number in numbers if shape.masked]
    return EncryptedSum(1, numbers, model, tag, [contribution] * shape.survivors, reveals, memoryview(b""))


def _reveal(shape: Shape) -> Reveal | SealedReveal:
    if shape.encrypted:
        return SealedReveal(bytes(DIGEST_SIZE), bytes(DIGEST_SIZE), bytes(_sealed_shares(shape)))
    held = shape.holders + (0 if shape.graph else 1)
    gone = held * shape.dropped // shape.members
    seeds = (held - gone) * (1 + shape.removed_component_count)
    return Reveal(bytes(DIGEST_SIZE), bytes(DIGEST_SIZE), bytes(seeds * SHARE_SIZE), bytes(gone * SHARE_SIZE))


def _sealed_shares(shape: Shape) -> int:
    return shape.members * SHARE_SIZE + AEAD_OVERHEAD


def _acknowledgement_size(shape: Shape, member: int) -> int:
    # Only here: TenSEAL is loaded where something is encrypted.
    from secagg.homomorphic.context import public_context

    payload = Acknowledge(public_context(shape.form.spec), bytes(DIGEST_SIZE))
    return sealed_size(Stage.ACKNOWLEDGE, payload, sender=member)


def _advertise(shape: Shape) -> Advertise:
    keys = bytes(shape.secret_rounds * KEY_SIZE)
    commitments = bytes(shape.secret_rounds * shape.seeds_a_round * DIGEST_SIZE)
    # Spread over all members, as drawn numbers are: large numbers take more bytes.
    step = shape.members / shape.holders
    holders = [1 + int(index * step) for index in range(shape.holders)] if shape.graph else []
    return Advertise(bytes(KEY_SIZE), keys, commitments, bytes(DIGEST_SIZE), holders)


def _deal_size(member: int, secrets: int) -> int:
    deal = Deal(bytes(DIGEST_SIZE), bytes(secrets * DIGEST_SIZE), bytes(sealed_size_of(secrets)))
    return sealed_size(Stage.DEAL, deal, sender=member, recipient=member)


def _with_vector(shape: Shape, stage: Stage, blank: msgspec.Struct, vector: int, *, sender: int = COORDINATOR) -> int:
    """Of a round's message with a vector of so many bytes, where ``blank`` has none."""
    payload = len(msgspec.msgpack.encode(blank)) + _bin_size(vector) - _bin_size(0)
    if payload > _LARGEST_BYTE_STRING:
        raise InputError(
            "too-large",
            f"{shape.length} numbers of {shape.bits} bits are too many for one message under the scheme "
            f"{shape.scheme}: it would have {payload / 1e9:.1f} GB, and the most is {_LARGEST_BYTE_STRING / 1e9:.1f}.",
            remedy="Choose a smaller model or narrower numbers (--field-bits); the scheme mask has the shortest "
            "messages.",
        )
    return _enlarged(sealed_size(stage, blank, sender=sender, round=1), blank, payload)


def _with_messages(stage: Stage, blank: msgspec.Struct, recipient: int, held: list[tuple[float, int]]) -> float:
    """Of a set-up's message that holds so many others of so many bytes, where ``blank`` holds none."""
    added = sum(count * _bin_size(size) for count, size in held)
    count = round(sum(count for count, _ in held))
    heads = len(msgspec.msgpack.encode([0] * count)) - count - 1
    payload = len(msgspec.msgpack.encode(blank)) + heads + added
    return _enlarged(sealed_size(stage, blank, recipient=recipient), blank, payload)


def _enlarged(size: int, blank: msgspec.Struct, payload: _Bytes) -> _Bytes:
    """Of a message of ``size`` bytes, its payload ``blank`` exchanged for one of ``payload`` bytes."""
    before = len(msgspec.msgpack.encode(blank))
    return size - before - len(bin_head(before)) + payload + len(bin_head(int(payload)))


def _bin_size(size: int) -> int:
    """Of a byte string, with what MessagePack puts before it."""
    return len(bin_head(min(size, _LARGEST_BYTE_STRING))) + size
