"""The masked vectors of one round as they reach the coordinator: added up, and never kept.

Knows packed vectors and the model digests that they claim. Knows nothing of masks or states.
"""

from __future__ import annotations

from secagg.encoding import add_packed, unpack
from secagg.encoding.ring import RingVector
from secagg.errors import RemoteProtocolError
from secagg.masking.messages import Masked
from secagg.masking.session import Session


class VectorSum:
    """The running sum of one round: one accumulator for each model digest that is claimed.

    Honest hospitals all claim the same. At most c + 1 digests are followed, so that c colluders can neither fill the
    memory nor crowd out the honest one.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._sums: dict[bytes, RingVector] = {}
        self._tags: dict[bytes, int] = {}
        self._senders: dict[bytes, set[int]] = {}

    @property
    def senders(self) -> frozenset[int]:
        """Whose vectors have come."""
        return frozenset(number for group in self._senders.values() for number in group)

    def add(self, sender: int, name: str, masked: Masked) -> None:
        """Add one hospital's vector and tag.

        Raises:
            RemoteProtocolError: ``other-model`` or ``wrong-length``, naming the sender.
        """
        model = masked.model_digest
        if model not in self._sums and len(self._sums) > self._session.charter.charter.max_colluding:
            raise RemoteProtocolError("other-model", f"{name} starts from another model.", culprit=name)
        if len(masked.tag) != self._session.tag_size:
            raise RemoteProtocolError("wrong-length", f"{name} sent a tag of {len(masked.tag)} bytes.", culprit=name)
        if model in self._sums:
            add_packed(self._sums[model], masked.vector, self._session.ring)
        else:
            self._sums[model] = unpack(masked.vector, self._session.length, self._session.ring)
        self._tags[model] = self._tags.get(model, 0) + int.from_bytes(masked.tag, "little")
        self._senders.setdefault(model, set()).add(sender)

    def largest(self) -> tuple[bytes, frozenset[int]]:
        """The digest that most hospitals claim, and who they are."""
        if not self._senders:
            return b"", frozenset()
        model = max(self._senders, key=lambda digest: (len(self._senders[digest]), digest))
        return model, frozenset(self._senders[model])

    def sum_of(self, model: bytes) -> RingVector:
        """The masked vectors of those who claim ``model``, added up: the accumulator itself."""
        return self._sums[model]

    def tag_of(self, model: bytes) -> int:
        """Their masked tags, added up."""
        return self._tags[model]
