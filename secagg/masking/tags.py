"""The verified sum: a one-time linear message authentication code that hospitals check and the coordinator cannot make.

Knows the tag of a vector and of a sum. Knows nothing of masks or messages.

Each hospital i sends, masked like its vector, ``tag_i = r_i + <a, x_i>`` modulo 2^w, with x_i as signed integers and
(r, a) uniform and secret from the coordinator: the keystream (`secagg.masking.prg`) of a key that the hospitals of an
epoch made together. The sum of the tags over U must be the sum of r_i over U plus ``<a, sum>``: a one-time message
authentication code (Wegman and Carter 1981) that is linear, so that it can be summed. Without the r_i a coordinator
could double sum and tag; with them the tag that it sees tells it nothing of a.

Guarantee: a coordinator without the key that changes the sum by d passes with probability at most 2^(v - w), where 2^v
is the highest power of two that divides every element of d. Elements of d are below 2^b, so that v < b: for w = 64 and
b <= 32 that is at most 2^-33, for w = 128 and b <= 64 at most 2^-65. If it names other hospitals than are in the sum,
at most 2^-w. A hospital that colludes with it gives it the key, and all of this with it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from secagg.encoding.ring import Ring, RingVector
from secagg.masking.prg import CHUNK_BYTES, OVERHANG, Keystream

_NARROW_RING: Final = 32
_NARROW, _WIDE = 8, 16
LARGEST_TAG: Final = _WIDE
"""In bytes."""


def tag_size(ring: Ring) -> int:
    """w / 8: how many bytes a tag of a vector in ``ring`` has; 8 for up to 32 bits an element, 16 above."""
    return _NARROW if ring.bits <= _NARROW_RING else _WIDE


def tag(vector: RingVector, ring: Ring, key: bytes, contributors: Collection[int]) -> int:
    """``sum of r_i over contributors + <a, vector>`` modulo 2^w: of one hospital's vector, or of a sum.

    Args:
        vector: ring elements, shape (d,), read as signed integers.
        key: 32 bytes, for this round and model alone.
        contributors: member numbers, from 1.
    """
    (product,) = products([vector], ring, key)
    return (offset(ring, key, contributors) + product) % (1 << 8 * tag_size(ring))


def offset(ring: Ring, key: bytes, contributors: Collection[int]) -> int:
    """``sum of r_i over contributors``, not reduced: r_i is word i of the keystream of ``key``, the first being 1."""
    words = Keystream(key).words(tag_size(ring), max(contributors, default=0))
    return sum(words[i - 1] for i in contributors)


def products(vectors: Sequence[RingVector], ring: Ring, key: bytes) -> list[int]:
    """``<a, x>`` for each of some vectors x of one length, not reduced: a is expanded once."""
    size = tag_size(ring)
    stream, step = Keystream(key), CHUNK_BYTES // size
    product = _narrow_product if size == _NARROW else _wide_product
    buffer = memoryview(bytearray(CHUNK_BYTES + OVERHANG))
    totals = [0] * len(vectors)
    for number, start in enumerate(range(0, len(vectors[0]), step)):
        chunks = [ring.to_signed(vector[start : start + step]) for vector in vectors]
        used = size * len(chunks[0])
        stream.write_chunk(number, buffer[: used + OVERHANG])
        totals = [total + product(values, buffer[:used]) for total, values in zip(totals, chunks, strict=True)]
    return totals


def _narrow_product(values: npt.NDArray[np.int64], coefficients: memoryview) -> int:
    return int(np.dot(np.frombuffer(coefficients, "<u8"), values.view(np.uint64)))


def _wide_product(values: npt.NDArray[np.int64], coefficients: memoryview) -> int:
    """Exact, by parts that cannot overflow: 16 bits of a coefficient times 32 bits of a value, summed over a chunk."""
    limbs = np.frombuffer(coefficients, "<u2").reshape(-1, _WIDE // 2).astype(np.int64)
    low, high = (values & 0xFFFFFFFF) @ limbs, (values >> 32) @ limbs
    parts = [int(part) + (int(upper) << 32) for part, upper in zip(low, high, strict=True)]
    return sum(part << 16 * place for place, part in enumerate(parts))
