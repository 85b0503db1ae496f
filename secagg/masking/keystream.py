"""The hot loop: pseudorandom masks from AES-256 in counter mode (NIST SP 800-38A), added into a vector in place.

Measured bound: the raw AES-256-CTR rate of one core. `benchmarks/bench_keystream.py` prints the ratio; keep it at
0.65 or more. Chunks stay in the cache: each is expanded for one key and added before the next key touches it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from secagg.encoding.ring import RingVector

KEY_SIZE: Final = 32
_CHUNK_BYTES: Final = 128 * 1024
_ZERO_COUNTER: Final = bytes(16)


@dataclass(frozen=True, repr=False)
class SignedKey:
    """A 32-byte mask key and whether its mask is added (+1) or taken away (-1)."""

    key: bytes
    sign: Literal[1, -1]


def add_masks(vector: RingVector, keys: Sequence[SignedKey], tag: int = 0, tag_size: int = 0) -> int:
    """Add the mask of every key to ``vector``, modulo the vector's type, in place; give ``tag`` with its mask.

    A mask is the AES-256-CTR keystream of its key from counter zero, read as little-endian integers of the vector's
    type; the next ``tag_size`` bytes, one little-endian integer, mask the tag modulo 2^(8 tag_size). Every key is used
    for one mask only, so the counter may start at zero each time.
    """
    streams = [Cipher(algorithms.AES(item.key), modes.CTR(_ZERO_COUNTER)).encryptor() for item in keys]
    zeros = bytes(_CHUNK_BYTES)
    buffer = bytearray(_CHUNK_BYTES)
    step = _CHUNK_BYTES // vector.itemsize
    for start in range(0, len(vector), step):
        chunk = vector[start : start + step]
        size = chunk.nbytes
        source = memoryview(zeros)[:size]
        target = memoryview(buffer)[:size]
        mask = np.frombuffer(target, vector.dtype)
        for item, stream in zip(keys, streams, strict=True):
            stream.update_into(source, target)
            if item.sign > 0:
                np.add(chunk, mask, out=chunk)
            else:
                np.subtract(chunk, mask, out=chunk)
    for item, stream in zip(keys, streams, strict=True):
        tag += item.sign * int.from_bytes(stream.update(bytes(tag_size)), "little")
    return tag % (1 << 8 * tag_size)
