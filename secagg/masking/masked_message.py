"""A Masked payload, written where it stands in its message: the one that is as long as the update.

Knows its MessagePack, which is that of `secagg.masking.messages.Masked`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec

from secagg.masking.messages import Masked
from secagg.masking.session import Session
from secagg.wire.envelope import bin_head


@dataclass(frozen=True)
class MaskedPayload:
    """The payload for one model digest in one session."""

    session: Session
    model_digest: bytes

    @property
    def size(self) -> int:
        """In bytes."""
        return len(self._before()) + self.session.vector_bytes + len(self._after(bytes(self.session.tags_size)))

    def write(self, payload: memoryview, mask_into: Callable[[memoryview], Sequence[int]]) -> None:
        """Fill ``payload``. ``mask_into`` writes the packed vector and gives the masked tags."""
        before = self._before()
        end = len(before) + self.session.vector_bytes
        payload[: len(before)] = before
        with payload[len(before) : end] as packed:
            tags = mask_into(packed)
        payload[end:] = self._after(b"".join(tag.to_bytes(self.session.tag_size, "little") for tag in tags))

    def _before(self) -> bytes:
        blank = msgspec.msgpack.encode(Masked(self.model_digest, memoryview(b""), b""))
        return blank[: -2 * len(bin_head(0))] + bin_head(self.session.vector_bytes)

    def _after(self, tags: bytes) -> bytes:
        return bin_head(len(tags)) + tags
