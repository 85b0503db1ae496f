"""A hospital's MASKED message, whose payload is written where it stands: the one that is as long as the update.

Knows its MessagePack, which is that of `secagg.masking.messages.Masked`, and how a vector and its tags are hidden. When
it may be sent is decided in `secagg.masking.client`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec

from secagg.encoding.ring import RingVector
from secagg.errors import LocalProtocolError
from secagg.masking.epoch import Epoch
from secagg.masking.expansion import over_processes
from secagg.masking.keystream import pack_masked
from secagg.masking.messages import Masked
from secagg.masking.round_tags import own_tags, pad_components
from secagg.masking.session import Session
from secagg.wire import Stage
from secagg.wire.envelope import bin_head


def seal_masked(epoch: Epoch, vectors: Sequence[RingVector], round_number: int, model_digest: bytes) -> bytes:
    """The message with a hospital's masked vector.

    Args:
        vectors: what is masked, then each component of noise in it; shape (session.length,) each, left unchanged.

    Raises:
        LocalProtocolError: ``wrong-length``, ``secrets-forgotten``.
    """
    session, vector = epoch.session, vectors[0]
    _require_lengths(vectors, session)
    keys = epoch.mask_keys(round_number, model_digest)
    bare = own_tags(vectors, session, epoch.tag_key, round_number, model_digest, epoch.number)
    tags = pad_components(bare, session, epoch.noise_tag_pads(round_number))
    payload = MaskedPayload(session, model_digest)

    def mask_into(packed: memoryview) -> list[int]:
        if session.encrypted:
            (tag,) = tags
            return [epoch.group.encrypt(vector, keys, tag, packed, round_number, epoch.number)]
        return pack_masked(vector, session.ring, keys, tags, session.tag_size, packed, over_processes)

    return epoch.sealer.seal_in_place(
        Stage.MASKED, payload.size, lambda view: payload.write(view, mask_into), round=round_number
    )


def _require_lengths(vectors: Sequence[RingVector], session: Session) -> None:
    lengths = [len(vector) for vector in vectors]
    wanted = [session.length] * (1 + session.noise_components)
    if lengths != wanted:
        raise LocalProtocolError("wrong-length", f"Vectors of {lengths} elements came where {wanted} are due.")


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
