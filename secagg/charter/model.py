"""The charter: everything a consortium agrees on before it trains, as one immutable value.

Knows what a charter says. Knows nothing of files or signatures, and of the task only that it has a kind and settings.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec

from secagg.charter.contradictions import require_consistent
from secagg.charter.names import Name
from secagg.charter.sections import (
    MOST_MEMBERS,
    Encoding,
    Homomorphic,
    Member,
    Metrics,
    Model,
    NeighbourGraph,
    Privacy,
    Scheme,
    Section,
    Statistics,
    TaskChoice,
    Training,
)
from secagg.charter.thresholds import surely_summed
from secagg.errors import InputError
from secagg.identity import fingerprint
from secagg.labels import digest

CHARTER_VERSION: Final = 1
# Where feature statistics are summed: values and squares at once. Of two sums over different hospitals the
# difference would show what one of them sent.
STATISTICS_SUMS: Final = 1


class Charter(Section, frozen=True):
    """Everything the members agree on. Nothing in it changes without a new charter and new signatures.

    Attributes:
        members: in the order that numbers them: the i-th member is number i, from 1, on the wire and in shares.
        threshold: t, the fewest hospitals that a sum is asked for.
        max_colluding: c, how many members may collude with the coordinator.
        scheme: ``mask``: the coordinator sees the sum and no more. ``double-lock``: masked values inside BFV; it does
            not see the sum either. ``bfv`` and ``ckks``: encrypted under one key that every hospital has, and so open
            to a coordinator that colludes with any of them.
        epoch_rounds: E, the rounds that one key set-up serves.
        nonce: 16 random bytes, so that no two charters are the same, even where all else is: each is its own run.

    Raises:
        InputError: on construction, naming the first thing that contradicts itself.
    """

    name: Name
    nonce: Annotated[bytes, msgspec.Meta(min_length=16, max_length=16)]
    members: Annotated[tuple[Member, ...], msgspec.Meta(max_length=MOST_MEMBERS)]
    threshold: Annotated[int, msgspec.Meta(ge=2)]
    max_colluding: Annotated[int, msgspec.Meta(ge=0)]
    model: Model
    task: TaskChoice
    training: Training
    scheme: Scheme = "mask"
    graph: NeighbourGraph = NeighbourGraph()
    homomorphic: Homomorphic = Homomorphic()
    encoding: Encoding = Encoding()
    statistics: Statistics = Statistics()
    metrics: Metrics = Metrics()
    privacy: Privacy = Privacy()
    epoch_rounds: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 10
    version: Literal[1] = CHARTER_VERSION

    def __post_init__(self) -> None:
        require_consistent(self)

    @property
    def most_liars(self) -> int:
        """How many members may lie: as many as may collude, and at least one, which may lie by itself."""
        return max(1, self.max_colluding)

    @property
    def surely_summed(self) -> int:
        """The fewest hospitals that any sum is over, which among neighbours may be fewer than the threshold."""
        return surely_summed(len(self.members), self.threshold, self.max_colluding, self.graph)

    @property
    def update_length(self) -> int:
        """How many numbers a hospital's update has: the parameters, the weight, the validation counts."""
        return self.model.parameters + 1 + self.metrics.cells

    def canonical_bytes(self) -> bytes:
        """The bytes that are hashed and signed: JSON, UTF-8, keys sorted, no white space, every default written out."""
        return msgspec.json.encode(self, order="sorted")

    def digest(self) -> bytes:
        """SHA-256 over the canonical bytes, 32 bytes."""
        return digest("charter", self.canonical_bytes())

    def number_of(self, name: str) -> int:
        """The number of the member called ``name``.

        Raises:
            InputError: ``unknown-member``.
        """
        for number, member in enumerate(self.members, start=1):
            if member.name == name:
                return number
        raise InputError(
            "unknown-member",
            f"{name} is not a member of the charter {self.name}.",
            culprit=name,
            remedy=f"Its members are {', '.join(member.name for member in self.members)}.",
        )

    def number_of_key(self, public_key: bytes, place: Path | None = None) -> int:
        """The number of the member with this key, 32 bytes.

        Args:
            place: the file that the key is from, for the error.

        Raises:
            InputError: ``unknown-member``.
        """
        for number, member in enumerate(self.members, start=1):
            if member.public_key == public_key:
                return number
        where = f" in {place}" if place else ""
        raise InputError(
            "unknown-member",
            f"The identity {fingerprint(public_key)}{where} is not a member of the charter {self.name}.",
            culprit=str(place) if place else fingerprint(public_key),
            remedy="Ask the member who wrote the charter to add it, or use the identity that it lists.",
        )

    def member(self, number: int) -> Member:
        """The member numbered ``number``, from 1."""
        return self.members[number - 1]
