"""How many messages and bytes the protocol takes, for a consortium that need not exist yet.

Knows the payloads and the envelope. Encodes them with zeros in place of keys, shares and vectors, so that what it says
is what would be sent; where hospitals differ, it counts an average one.
"""

from __future__ import annotations

from dataclasses import dataclass

from secagg.encoding.packing import packed_size
from secagg.encoding.ring import Ring
from secagg.graph import Graph
from secagg.identity import SIGNATURE_SIZE
from secagg.labels import DIGEST_SIZE
from secagg.masking.agreement import sample_size
from secagg.masking.dealing import sealed_size_of
from secagg.masking.messages import (
    KEY_SIZE,
    Advertise,
    Agree,
    Agreement,
    Begin,
    Deal,
    Deals,
    Masked,
    Open,
    Propose,
    Reveal,
    Roster,
    Sum,
    Unmask,
)
from secagg.masking.session import Purpose
from secagg.masking.shamir import SHARE_SIZE
from secagg.masking.tags import tag_size
from secagg.wire.envelope import sealed_size
from secagg.wire.stage import Stage


@dataclass(frozen=True)
class Shape:
    """What the sizes follow from.

    Attributes:
        members: n, all of whom take part.
        threshold: t.
        dropped: how many of them send no masked vector.
        length: elements of a vector, d and what goes with it.
        bits: b, of an element.
        rounds: E, of a key set-up.
        graph: None if everybody masks with everybody.
    """

    members: int
    threshold: int
    dropped: int
    length: int
    bits: int
    rounds: int
    graph: Graph | None

    @property
    def survivors(self) -> int:
        """How many send a masked vector."""
        return self.members - self.dropped

    @property
    def holders(self) -> int:
        """How many others hold a hospital's shares, and, on average, how many others' shares a hospital holds."""
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
    def agreed(self) -> bool:
        """Whether a round takes agreement on the survivors."""
        return self.graph is not None or self.dropped > 0

    @property
    def agreements(self) -> int:
        """How many agreements a survivor is shown."""
        if not self.agreed:
            return 0
        return self.survivors if self.graph else self.threshold

    @property
    def checked_agreements(self) -> int:
        """How many of them it checks."""
        return sample_size(self.agreements, self.threshold) if self.agreed else 0


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
    """Of one key set-up."""
    middle = shape.members // 2 + 1
    advertisement = sealed_size(Stage.ADVERTISE, _advertise(shape), sender=middle)
    deal = _deal_size(middle, shape.rounds)
    # Whoever deals the tag key deals it to everybody who holds no shares of it.
    tag_deals = (shape.members - 1 - shape.holders) / shape.members
    deals = shape.holders + tag_deals
    tag_bytes = tag_deals * _deal_size(middle, 0)
    shown = shape.peers + 1 + (tag_deals if shape.graph else 0)
    participants = Roster(list(range(1, shape.members + 1)), [])
    down = (
        sealed_size(Stage.OPEN, Open(Purpose.TRAINING, 1, shape.rounds))
        + sealed_size(Stage.ROSTER, participants, recipient=middle)
        + shown * (advertisement + _BIN_HEADER)
        + sealed_size(Stage.DEALS, Deals([]), recipient=middle)
        + shape.holders * (deal + _BIN_HEADER)
        + tag_bytes
    )
    return Traffic(1 + deals, 3, advertisement + shape.holders * deal + tag_bytes, down)


def round_traffic(shape: Shape) -> Traffic:
    """Of one round, for a hospital that does not drop."""
    middle, numbers = shape.members // 2 + 1, list(range(1, shape.survivors + 1))
    vector, tag = packed_size(shape.length, shape.bits), bytes(tag_size(Ring(shape.bits)))
    held = shape.holders + (0 if shape.graph else 1)
    up = [
        sealed_size(Stage.MASKED, Masked(bytes(DIGEST_SIZE), memoryview(b""), tag), sender=middle, round=1) + vector,
        sealed_size(Stage.REVEAL, Reveal(bytes(DIGEST_SIZE), bytes(held * SHARE_SIZE), b""), sender=middle, round=1),
    ]
    agreements = [Agreement(number, shape.holders, bytes(SIGNATURE_SIZE)) for number in numbers[: shape.agreements]]
    total = Sum(1, numbers, bytes(DIGEST_SIZE), memoryview(b""), tag)
    down = [
        sealed_size(Stage.BEGIN, Begin(1), round=1),
        sealed_size(Stage.UNMASK, Unmask(numbers, agreements), round=1),
        sealed_size(Stage.SUM, total, round=1) + vector,
    ]
    if shape.agreed:
        up.append(sealed_size(Stage.AGREE, Agree(bytes(DIGEST_SIZE)), sender=middle, round=1))
        down.append(sealed_size(Stage.PROPOSE, Propose(numbers), round=1))
    return Traffic(len(up), len(down), sum(up), sum(down))


_BIN_HEADER = 3


def _advertise(shape: Shape) -> Advertise:
    keys = bytes(shape.rounds * KEY_SIZE)
    # Spread over all members, as drawn numbers are: large numbers take more bytes.
    step = shape.members / shape.holders
    holders = [1 + int(index * step) for index in range(shape.holders)] if shape.graph else []
    return Advertise(bytes(KEY_SIZE), keys, keys, bytes(DIGEST_SIZE), holders)


def _deal_size(member: int, rounds: int) -> int:
    deal = Deal(bytes(DIGEST_SIZE), bytes(2 * rounds * DIGEST_SIZE), bytes(sealed_size_of(rounds)))
    return sealed_size(Stage.DEAL, deal, sender=member, recipient=member)
