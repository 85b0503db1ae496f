"""The hot loop: pseudorandom masks (`secagg.masking.prg`), added into a vector in place.

Knows keystreams and signs. Where they are computed is an argument: `in_one_process` here, or
`secagg.masking.expansion.over_processes`, which gives the same masks.

Measured beside the raw AES-256-CTR rate of one core. `benchmarks/bench_keystream.py` prints the ratio; keep it at
0.75 or more. Chunks stay in the cache: each is expanded for one key and added before the next key touches it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from secagg.encoding import Ring, pack_into
from secagg.encoding.ring import RingVector
from secagg.masking.prg import CHUNK_BYTES, KEY_SIZE, OVERHANG, Keystream

_CACHE_LINE: Final = 64
_NEGATIVE, _POSITIVE = b"-", b"+"


@dataclass(frozen=True, repr=False)
class SignedKey:
    """A 32-byte mask key and whether its mask is added (+1) or taken away (-1)."""

    key: bytes
    sign: Literal[1, -1]


class MaskStreams:
    """The masks of some keys for vectors of one type, from any chunk on.

    A mask is the keystream of its key, chunk after chunk from 0, read as little-endian integers of the vector's type.
    Every key is used for one mask only.
    """

    def __init__(self, keys: Sequence[SignedKey], dtype: np.dtype[np.unsignedinteger]) -> None:
        self.keys = keys
        self.dtype = dtype
        self._keystreams = [Keystream(item.key) for item in keys]
        self._buffer = aligned_zeros(CHUNK_BYTES + OVERHANG, np.dtype(np.uint8)).data

    def sum_into(self, start: int, out: RingVector) -> None:
        """Write the signed sum of all masks, elements ``start`` to ``start + len(out)``, into ``out``.

        Raises:
            ValueError: ``start`` is not where a chunk begins.
        """
        step = CHUNK_BYTES // self.dtype.itemsize
        if start % step:
            raise ValueError(f"a piece of a mask begins at a multiple of {step} elements, not at {start}")
        for offset in range(0, len(out), step):
            self._sum_chunk((start + offset) // step, out[offset : offset + step])

    def words(self, size: int, count: int) -> list[int]:
        """The signed sums of ``count`` integers of ``size`` bytes of each key's keystream: see `Keystream.words`."""
        totals = [0] * count
        for item, stream in zip(self.keys, self._keystreams, strict=True):
            words = stream.words(size, count)
            totals = [total + item.sign * word for total, word in zip(totals, words, strict=True)]
        return totals

    def _sum_chunk(self, number: int, out: RingVector) -> None:
        target = self._buffer[: out.nbytes + OVERHANG]
        mask = np.frombuffer(self._buffer, self.dtype, len(out))
        out[:] = 0
        for item, stream in zip(self.keys, self._keystreams, strict=True):
            stream.write_chunk(number, target)
            if item.sign > 0:
                np.add(out, mask, out=out)
            else:
                np.subtract(out, mask, out=out)


def aligned_zeros(length: int, dtype: np.dtype[np.unsignedinteger]) -> RingVector:
    """Zeros that begin with a cache line: adding vectors that do not is up to a third slower."""
    memory = np.zeros(length * dtype.itemsize + _CACHE_LINE, np.uint8)
    start = -memory.ctypes.data % _CACHE_LINE
    return memory[start : start + length * dtype.itemsize].view(dtype)


class MaskService:
    """Masks, in a worker process; a piece is (first element, elements)."""

    def __init__(self, brief: bytes) -> None:
        self._streams = _decode_streams(brief)

    def serve(self, piece: tuple[int, int], slot: memoryview) -> None:
        """Write the signed sum of all masks of the piece."""
        start, count = piece
        self._streams.sum_into(start, np.frombuffer(slot, self._streams.dtype, count))


def encode_streams(streams: MaskStreams) -> bytes:
    """The size of an element (1 byte), a known answer, and the keys, each after its sign: what `MaskService` takes."""
    keys = [(_POSITIVE if item.sign > 0 else _NEGATIVE) + item.key for item in streams.keys]
    return bytes([streams.dtype.itemsize]) + _known_answer() + b"".join(keys)


def _decode_streams(data: bytes) -> MaskStreams:
    answer = _known_answer()
    if data[1 : 1 + len(answer)] != answer:
        # It began after an update of the toolkit, and its employer before: together they would make a false mask.
        raise ValueError("this worker makes other masks than its employer")
    size = 1 + KEY_SIZE
    items = [data[start : start + size] for start in range(1 + len(answer), len(data), size)]
    keys = [SignedKey(item[1:], 1 if item[:1] == _POSITIVE else -1) for item in items]
    return MaskStreams(keys, np.dtype(f"<u{data[0]}"))


def _known_answer() -> bytes:
    """16 bytes that differ where masks do: of the mask of a public key, from 1 MiB on."""
    mask = np.zeros(4, "<u4")
    MaskStreams([SignedKey(bytes(KEY_SIZE), 1)], mask.dtype).sum_into((1 << 20) // mask.itemsize, mask)
    return mask.tobytes()


Expander = Callable[[MaskStreams, int], Iterator[tuple[int, RingVector]]]
"""Gives the sum of the masks of a vector of so many elements, piece by piece: (first element, elements).

Every element is in one piece; pieces come in any order, begin where a chunk does, may be written to, and are valid
until the next is asked for."""


def in_one_process(streams: MaskStreams, length: int) -> Iterator[tuple[int, RingVector]]:
    """An `Expander` that computes all itself."""
    step = CHUNK_BYTES // streams.dtype.itemsize
    scratch = aligned_zeros(min(step, length), streams.dtype)
    for start in range(0, length, step):
        piece = scratch[: length - start]
        streams.sum_into(start, piece)
        yield start, piece


def add_masks(
    vector: RingVector,
    keys: Sequence[SignedKey],
    tags: Sequence[int] = (),
    tag_size: int = 0,
    expand: Expander = in_one_process,
) -> list[int]:
    """Add the mask of every key to ``vector``, modulo the vector's type, in place; give ``tags`` with their masks.

    The first word of ``tag_size`` bytes of each keystream masks the first tag modulo 2^(8 tag_size), the next the next.
    """
    streams = MaskStreams(keys, vector.dtype)
    for start, masks in expand(streams, len(vector)):
        piece = vector[start : start + len(masks)]
        np.add(piece, masks, out=piece)
    return _masked_tags(streams, tags, tag_size)


def pack_masked(
    vector: RingVector,
    ring: Ring,
    keys: Sequence[SignedKey],
    tags: Sequence[int],
    tag_size: int,
    packed: memoryview,
    expand: Expander = in_one_process,
) -> list[int]:
    """Write what `add_masks` would make of a copy of ``vector`` into ``packed``; give the masked tags.

    The copy is never made: only a few chunks are held.
    """
    streams = MaskStreams(keys, ring.dtype)
    for start, masks in expand(streams, len(vector)):
        np.add(masks, vector[start : start + len(masks)].astype(ring.dtype, copy=False), out=masks)
        pack_into(packed, masks, ring, start)
    return _masked_tags(streams, tags, tag_size)


def _masked_tags(streams: MaskStreams, tags: Sequence[int], size: int) -> list[int]:
    words = streams.words(size, len(tags)) if tags else []
    return [(tag + word) % (1 << 8 * size) for tag, word in zip(tags, words, strict=True)]
