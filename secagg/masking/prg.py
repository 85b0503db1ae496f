"""The pseudorandom generator of masks and tags: AES-256 in counter mode, in chunks that can be had in any order.

Block j of chunk i of a key's keystream is AES-256 of i, as 12 bytes, and j + 2, as 4 bytes, both big-endian. No two
blocks of a key are of the same input, so that the keystream is as good as AES is a pseudorandom function.

Counter mode (NIST SP 800-38A, section 6.5) gives these blocks, and so does GCM (NIST SP 800-38D, section 7.1, an IV of
96 bits), which turns zeros into just these under the IV i, its tag thrown away. Which of the two OpenSSL does faster is
a matter of the processor, and of up to a factor of two: each process tries.
"""

from __future__ import annotations

import timeit
from functools import cache
from typing import Final, Protocol

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import CTR

KEY_SIZE: Final = 32
# A chunk, its sum and what it is added to stay in the cache of a core.
CHUNK_BYTES: Final = 128 * 1024
OVERHANG: Final = 16
"""How many bytes after a chunk may be written too, and are worth nothing: GCM's tag."""
_IV_SIZE: Final = 12
_FIRST_BLOCK: Final = (2).to_bytes(4, "big")
# Of the keystreams of a vector no chunk has this number: it would have 10^34 bytes.
_WORDS: Final = (1 << 8 * _IV_SIZE) - 1
_ZEROS: Final = memoryview(bytes(CHUNK_BYTES))
_TRIES: Final = 8


class ChunkCipher(Protocol):
    """A way to the chunks of one key of 32 bytes."""

    def __init__(self, key: bytes) -> None: ...

    def write_chunk(self, number: int, into: memoryview) -> None:
        """Write chunk ``number``, from 0, or its beginning, into all of ``into`` but the last `OVERHANG` bytes.

        Raises:
            ValueError: that is longer than a chunk.
        """


class ByCounterMode:
    """Chunks as counter mode gives them: nothing but AES, but in OpenSSL without the widest instructions."""

    def __init__(self, key: bytes) -> None:
        self._encryptor = Cipher(AES256(key), CTR(bytes(_IV_SIZE) + _FIRST_BLOCK)).encryptor()

    def write_chunk(self, number: int, into: memoryview) -> None:
        """See `ChunkCipher`."""
        self._encryptor.reset_nonce(number.to_bytes(_IV_SIZE, "big") + _FIRST_BLOCK)
        self._encryptor.update_into(_zeros_for(into), into)


class ByGcm:
    """Chunks as GCM gives them: with a tag besides, but by AVX-512 where the processor has it."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    def write_chunk(self, number: int, into: memoryview) -> None:
        """See `ChunkCipher`."""
        self._cipher.encrypt_into(number.to_bytes(_IV_SIZE, "big"), _zeros_for(into), None, into)


def _zeros_for(into: memoryview) -> memoryview:
    size = len(into) - OVERHANG
    # What is left as it was would pass for a keystream.
    if not 0 <= size <= CHUNK_BYTES:
        raise ValueError(f"a chunk has {CHUNK_BYTES} bytes, and not {size}")
    return _ZEROS[:size]


class Keystream:
    """What a key of 32 bytes is expanded to. Every key is used for one purpose alone."""

    def __init__(self, key: bytes) -> None:
        self._cipher = fastest_cipher()(key)

    def write_chunk(self, number: int, into: memoryview) -> None:
        """Write chunk ``number``, from 0, or its beginning, into all of ``into`` but the last `OVERHANG` bytes."""
        self._cipher.write_chunk(number, into)

    def words(self, size: int, count: int) -> list[int]:
        """``count`` little-endian integers of ``size`` bytes: the beginning of chunk 2^96 - 1.

        Raises:
            ValueError: they are longer than a chunk.
        """
        stream = memoryview(bytearray(size * count + OVERHANG))
        self._cipher.write_chunk(_WORDS, stream)
        return [int.from_bytes(stream[start : start + size], "little") for start in range(0, size * count, size)]


@cache
def fastest_cipher() -> type[ChunkCipher]:
    """Which of the two writes a chunk faster in this process: a trial of milliseconds, the first time."""
    into = memoryview(bytearray(CHUNK_BYTES + OVERHANG))

    def least_seconds(way: type[ChunkCipher]) -> float:
        cipher = way(bytes(KEY_SIZE))
        return min(timeit.repeat(lambda: cipher.write_chunk(0, into), number=1, repeat=_TRIES))

    ways: tuple[type[ChunkCipher], ...] = (ByCounterMode, ByGcm)
    return min(ways, key=least_seconds)
