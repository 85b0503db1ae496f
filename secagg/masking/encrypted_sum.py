"""An EncryptedSum payload, written where it stands in its message: there is one copy of the sum, and that is it.

Knows its MessagePack, which is that of `secagg.masking.messages.EncryptedSum`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from secagg.masking.messages import EncryptedSum
from secagg.wire.envelope import bin_head


@dataclass(frozen=True)
class EncryptedSumPayload:
    """The payload for a sum of ``vector_bytes``; ``blank`` is the same without its vector."""

    blank: EncryptedSum
    vector_bytes: int

    @property
    def size(self) -> int:
        """In bytes."""
        return len(self._before()) + self.vector_bytes

    def write(self, payload: memoryview, take: Callable[[memoryview], None]) -> None:
        """Fill ``payload``. ``take`` writes the vector."""
        before = self._before()
        payload[: len(before)] = before
        with payload[len(before) :] as vector:
            take(vector)

    def _before(self) -> bytes:
        return msgspec.msgpack.encode(self.blank)[: -len(bin_head(0))] + bin_head(self.vector_bytes)
