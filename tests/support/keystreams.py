"""What a key is expanded to, computed from single AES blocks."""

from __future__ import annotations

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from secagg.masking.prg import CHUNK_BYTES


def chunk(key: bytes, number: int, size: int) -> bytes:
    """The first ``size`` bytes of one chunk."""
    blocks = (number.to_bytes(12, "big") + (block + 2).to_bytes(4, "big") for block in range(-(-size // 16)))
    return Cipher(algorithms.AES(key), modes.ECB()).encryptor().update(b"".join(blocks))[:size]


def keystream(key: bytes, size: int, chunk_size: int = CHUNK_BYTES) -> bytes:
    """The first ``size`` bytes of all chunks from 0 on."""
    starts = range(0, size, chunk_size)
    return b"".join(chunk(key, start // chunk_size, min(chunk_size, size - start)) for start in starts)


def words(key: bytes, size: int, count: int) -> list[int]:
    """``count`` little-endian integers of ``size`` bytes."""
    return integers(chunk(key, 2**96 - 1, size * count), size)


def integers(data: bytes, size: int) -> list[int]:
    """``data`` as little-endian integers."""
    return [int.from_bytes(data[start : start + size], "little") for start in range(0, len(data), size)]
