"""The vectors of one round as they reach the coordinator: added up, and never kept.

Knows vectors as bytes, and the model digests that they claim. Knows nothing of masks or states.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from secagg.encoding import add_packed, unpack
from secagg.encoding.ring import RingVector
from secagg.errors import LocalProtocolError, RemoteProtocolError
from secagg.masking.messages import Contribution, Masked
from secagg.masking.session import Session

if TYPE_CHECKING:
    from secagg.homomorphic.vectors import CiphertextSum


class PackedSum:
    """The running sum of packed vectors.

    Attributes:
        total: ring elements, shape (session.length,), not reduced; empty before the first vector.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self.total: RingVector = session.ring.zeros(0)

    def add(self, data: memoryview) -> None:
        """Add one hospital's vector.

        Raises:
            RemoteProtocolError: ``wrong-length`` or ``malformed``; the sum is what it was then.
        """
        if len(self.total) == 0:
            self.total = unpack(data, self._session.length, self._session.ring)
        else:
            add_packed(self.total, data, self._session.ring)


class VectorSum:
    """The running sum of one round: one accumulator for each model digest that is claimed.

    Honest hospitals all claim the same. Of the others there are at most as many accumulators as hospitals that may lie,
    so that these can neither fill the memory nor crowd out the honest one.

    Attributes:
        lost: whether the sums are gone, so that vectors are counted only.
    """

    def __init__(self, session: Session) -> None:
        self.lost = False
        self._session = session
        self._sums: dict[bytes, PackedSum | CiphertextSum] = {}
        self._tags: dict[bytes, list[int]] = {}
        self._contributions: dict[bytes, dict[int, Contribution]] = {}

    @property
    def senders(self) -> frozenset[int]:
        """Whose vectors have come."""
        return frozenset(number for group in self._contributions.values() for number in group)

    def add(self, sender: int, name: str, masked: Masked, contribution: Contribution) -> None:
        """Add one hospital's vector and tags.

        Raises:
            RemoteProtocolError: ``other-model``, ``wrong-length`` or ``malformed``.
            WorkerLostError: the sums are lost: see `lose`.
        """
        model = masked.model_digest
        most = self._session.charter.charter.most_liars
        if model not in self._contributions and len(self._contributions) > most:
            # Whose is the true one does not show yet: nobody is to blame.
            told = f"{name} starts from another model than others, and so do more than the {most} that may lie."
            raise RemoteProtocolError(
                "other-model",
                told,
                remedy="Hospitals that missed a sum catch up before the next round. If it comes again, compare which "
                "release of secagg each runs.",
            )
        if len(masked.tags) != self._session.tags_size:
            raise RemoteProtocolError("wrong-length", f"{name} sent {len(masked.tags)} bytes of tags.", culprit=name)
        if not self.lost:
            total = self._sums.get(model) or _accumulator(self._session)
            total.add(masked.vector)
            self._sums[model] = total
        sent = self._numbers(masked.tags)
        self._tags[model] = [sum(pair) for pair in zip(self._tags.get(model, [0] * len(sent)), sent, strict=True)]
        self._contributions.setdefault(model, {})[sender] = contribution

    def lose(self) -> None:
        """Drop the sums; vectors that still come are only counted."""
        self.lost = True
        self._sums.clear()

    def _numbers(self, tags: bytes) -> list[int]:
        size = self._session.tag_size
        return [int.from_bytes(tags[start : start + size], "little") for start in range(0, len(tags), size)]

    def largest(self) -> tuple[bytes, frozenset[int]]:
        """The digest that most hospitals claim, and who they are."""
        if not self._contributions:
            return b"", frozenset()
        model = max(self._contributions, key=lambda digest: (len(self._contributions[digest]), digest))
        return model, frozenset(self._contributions[model])

    def packed_sum_of(self, model: bytes) -> RingVector:
        """The vectors of those who claim ``model``, added up: the accumulator itself.

        Raises:
            LocalProtocolError: ``encrypted``, if they are not packed vectors.
        """
        total = self._sums[model]
        if not isinstance(total, PackedSum):
            raise LocalProtocolError("encrypted", "Vectors of this scheme are not the coordinator's to see.")
        return total.total

    def ciphertexts_of(self, model: bytes) -> CiphertextSum:
        """The same where they are encrypted.

        Raises:
            LocalProtocolError: ``not-encrypted``.
        """
        total = self._sums[model]
        if isinstance(total, PackedSum):
            raise LocalProtocolError("not-encrypted", "Vectors of this scheme are not encrypted.")
        return total

    def tags_of(self, model: bytes) -> list[int]:
        """Their tags, added up: of their vectors, then of each component of noise."""
        return self._tags[model]

    def contributions_of(self, model: bytes) -> list[Contribution]:
        """What they signed, by member number."""
        return [contribution for _, contribution in sorted(self._contributions[model].items())]


def _accumulator(session: Session) -> PackedSum | CiphertextSum:
    if not session.encrypted:
        return PackedSum(session)
    # Only here: TenSEAL is loaded by those who encrypt.
    from secagg.homomorphic.vectors import CiphertextSum

    return CiphertextSum(session.form)
