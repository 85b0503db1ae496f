"""What both sides of an epoch know: the charter, what is summed, and the sets of members that take part.

Knows member numbers and sizes. Knows no secrets.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from itertools import pairwise

from secagg.charter import VerifiedCharter
from secagg.charter.sections import ENCRYPTED_SCHEMES, MASKED_SCHEMES
from secagg.encoding.moments import moments_length
from secagg.encoding.packing import packed_size
from secagg.encoding.ring import Ring, RingVector
from secagg.errors import RemoteProtocolError
from secagg.homomorphic.form import EncryptedForm, form_of
from secagg.labels import digest, extend, label
from secagg.masking import noise
from secagg.masking.tags import tag_size

STATISTICS_BITS = 64


class Purpose(StrEnum):
    """What an epoch's rounds sum: model updates, or feature statistics before training."""

    TRAINING = "training"
    STATISTICS = "statistics"


@dataclass(frozen=True)
class Session:
    """One epoch of one charter.

    Attributes:
        epoch: counts key set-ups under this charter, from 1.
        first_round: the number of the epoch's first round; rounds are counted across epochs and never reused.
        rounds: E, how many rounds the epoch's keys serve.
    """

    charter: VerifiedCharter
    epoch: int
    purpose: Purpose
    first_round: int
    rounds: int

    @classmethod
    def unopened(cls, charter: VerifiedCharter, purpose: Purpose = Purpose.TRAINING) -> Session:
        """An epoch that nobody opens, as long as any: for who its members are, and how large its messages may be."""
        return cls(charter, 0, purpose, 0, charter.charter.epoch_rounds)

    @property
    def members(self) -> range:
        """The numbers of all members of the charter."""
        return range(1, len(self.charter.charter.members) + 1)

    @property
    def threshold(self) -> int:
        """t: the fewest survivors of which a sum is taken."""
        return self.charter.charter.threshold

    @property
    def masked(self) -> bool:
        """Whether vectors are masked, so that secrets are shared and revealed."""
        return self.charter.charter.scheme in MASKED_SCHEMES

    @property
    def encrypted(self) -> bool:
        """Whether vectors are encrypted, so that hospitals open the sum and not the coordinator."""
        return self.charter.charter.scheme in ENCRYPTED_SCHEMES

    @property
    def secret_rounds(self) -> int:
        """For how many rounds hospitals share secrets: all of the epoch, or none where nothing is masked."""
        return self.rounds if self.masked else 0

    @property
    def noise_levels(self) -> tuple[int, ...]:
        """m_0 to m_(J-1): numbers of survivors, falling, from which on a component of noise is removed."""
        return self.charter.charter.privacy.noise_levels if self.purpose is Purpose.TRAINING else ()

    @property
    def noise_components(self) -> int:
        """J: in how many components a hospital adds noise that may be removed; 0 if none may."""
        return len(self.noise_levels)

    @property
    def seeds_a_round(self) -> int:
        """How many seeds a hospital commits to for a round: of its self-mask, and of J components of noise."""
        return 1 + self.noise_components

    @property
    def secrets_a_round(self) -> int:
        """How many secrets a hospital shares for a round: its seeds and its mask key."""
        return self.seeds_a_round + 1

    @property
    def shared_secrets(self) -> int:
        """How many secrets a hospital shares in this epoch."""
        return self.secret_rounds * self.secrets_a_round

    def kept_components(self, survivors: int) -> int:
        """L: components 1 to L of everybody's noise stay in a sum over so many survivors."""
        return noise.kept_components(self.noise_levels, survivors)

    def removed_components(self, survivors: int) -> range:
        """The components of everybody's noise that are removed over so many survivors, ascending."""
        return noise.removed_components(self.noise_levels, survivors)

    @property
    def form(self) -> EncryptedForm:
        """How vectors are encrypted.

        Raises:
            ValueError: where they are not.
        """
        charter = self.charter.charter
        return form_of(charter.scheme, charter.homomorphic.parameters, self.ring, self.length, len(self.members))

    @property
    def complete(self) -> bool:
        """Whether everybody masks with everybody, and holds everybody's shares."""
        return self.charter.charter.graph.degree == 0

    @property
    def share_threshold(self) -> int:
        """How many holders rebuild a hospital's secret."""
        return self.threshold if self.complete else self.charter.charter.graph.threshold

    def tag_dealers(self, participants: Collection[int]) -> frozenset[int]:
        """Whose contributions make the tag key: everybody's; in a sparse graph, the first participant's alone.

        Every hospital knows the key, so that it is secret from a coordinator that colludes with none of them, and
        from no other: one honest contribution is enough for that.
        """
        return frozenset(participants) if self.complete else frozenset([min(participants)])

    @property
    def ring(self) -> Ring:
        """The ring that the vectors of this purpose live in."""
        match self.purpose:
            case Purpose.TRAINING:
                return Ring(self.charter.charter.encoding.field_bits)
            case Purpose.STATISTICS:
                return Ring(STATISTICS_BITS)

    @property
    def length(self) -> int:
        """How many ring elements a vector of this purpose has."""
        charter = self.charter.charter
        match self.purpose:
            case Purpose.TRAINING:
                return charter.update_length
            case Purpose.STATISTICS:
                return moments_length(charter.statistics.features)

    @property
    def vector_bytes(self) -> int:
        """The size of a hospital's vector as it is sent: packed, or encrypted."""
        return self.form.fresh_size if self.encrypted else packed_size(self.length, self.ring.bits)

    @property
    def sum_bytes(self) -> int:
        """The size of a sum of vectors as it is sent."""
        return self.form.sum_size if self.encrypted else packed_size(self.length, self.ring.bits)

    @property
    def tag_size(self) -> int:
        """How many bytes the tag of a vector of this purpose has."""
        return tag_size(self.ring)

    @property
    def tags_size(self) -> int:
        """How many bytes the tags have that a hospital sends: of its vector, and of each component of noise."""
        return (1 + self.noise_components) * self.tag_size

    def slot(self, round_number: int) -> int:
        """The index of a round's secrets within the epoch, from 0.

        Raises:
            RemoteProtocolError: ``round-outside-epoch``.
        """
        slot = round_number - self.first_round
        if not 0 <= slot < self.rounds:
            raise RemoteProtocolError(
                "round-outside-epoch",
                f"Round {round_number} is not one of the {self.rounds} of epoch {self.epoch}.",
            )
        return slot

    def seed_place(self, round_number: int, component: int = 0) -> int:
        """Where in an advertisement the commitment to a seed stands, from 0: of a component, or 0 of the self-mask.

        Raises:
            RemoteProtocolError: ``round-outside-epoch``.
        """
        return self.slot(round_number) * self.seeds_a_round + component

    def name(self, number: int) -> str:
        """A member's name, for errors."""
        return self.charter.charter.member(number).name

    def context(self, name: str, round_number: int, *more: bytes | int) -> bytes:
        """The label of a key or hash that is bound to one round of this epoch: ``context`` in ``docs/protocol.md``.

        Args:
            name: what is labelled; no two kinds of keys or hashes have one name.
            round_number: 0 for what is bound to the epoch only.
        """
        return extend(_start(name, self.charter.digest, self.epoch, self.purpose, round_number), *more)


# The coordinator derives thousands of labels a round that differ in their last fields only.
@lru_cache(maxsize=256)
def _start(name: str, charter: bytes, epoch: int, purpose: Purpose, round_number: int) -> bytes:
    return label(name, charter, epoch, purpose, round_number)


@dataclass(frozen=True)
class Survivors:
    """U: the members whose masked vectors are in a sum, ascending. Made by `check`."""

    numbers: tuple[int, ...]

    @classmethod
    def check(cls, numbers: Iterable[int], session: Session, participants: frozenset[int]) -> Survivors:
        """Make the set, if it is one that a sum may be taken over: distinct, ascending, taking part, at least t.

        Raises:
            RemoteProtocolError: ``malformed-survivors``, ``unknown-survivor`` or ``below-threshold``.
        """
        listed = tuple(numbers)
        if any(later <= earlier for earlier, later in pairwise(listed)):
            raise RemoteProtocolError("malformed-survivors", "A survivor set is not in ascending order.")
        strangers = set(listed) - participants
        if strangers:
            raise RemoteProtocolError(
                "unknown-survivor",
                f"A survivor set names member {min(strangers)}, who takes no part in the epoch.",
            )
        if len(listed) < session.threshold:
            raise RemoteProtocolError(
                "below-threshold",
                f"A sum over {len(listed)} hospitals was asked for; the charter's threshold is {session.threshold}.",
                remedy="Wait until more hospitals can be reached.",
            )
        return cls(listed)

    def digest(self) -> bytes:
        """SHA-256 of the set."""
        return digest("survivors", b"".join(number.to_bytes(4, "big") for number in self.numbers))


@dataclass(frozen=True)
class Settled:
    """All that identifies a round's sum, without its numbers: an encrypted sum is not the coordinator's to see.

    Attributes:
        step: which applied sum of the training it is, from 1.
        model: digest of the model that the survivors started from.
    """

    round: int
    step: int
    survivors: Survivors
    model: bytes

    def summed(self, vector: RingVector, tag: int) -> RoundSum:
        """The sum itself: ring elements, shape (length,), and the sum of the survivors' tags."""
        return RoundSum(self.round, self.step, self.survivors, self.model, vector, tag)


@dataclass(frozen=True)
class RoundSum(Settled):
    """The sum of the survivors' vectors, ring elements, shape (length,).

    Attributes:
        tag: the sum of the survivors' tags.
    """

    vector: RingVector
    tag: int
