"""The pseudorandom generator of masks and tags: AES-256 in counter mode, in chunks that can be had in any order.

Block j of chunk i of a key's keystream is AES-256 of i, as 12 bytes, and j + 2, as 4 bytes, both big-endian. No two
blocks of a key are of the same input, so that the keystream is as good as AES is a pseudorandom function.

GCM (NIST SP 800-38D, section 7.1, an IV of 96 bits) turns zeros into just these blocks under the IV i, and is asked for
them, its tag thrown away: OpenSSL's GCM uses wide vector instructions (VAES) where its counter mode does not, and
`AESGCM` needs a fifth of the time of a `Cipher` for a key that is used once. Any library's counter mode gives the same
bytes (NIST SP 800-38A, section 6.5).
"""

from __future__ import annotations

from typing import Final

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_SIZE: Final = 32
# A chunk, its sum and what it is added to stay in the cache of a core.
CHUNK_BYTES: Final = 128 * 1024
OVERHANG: Final = 16
"""How many bytes after a chunk are written too, and are worth nothing: GCM's tag."""
_IV_SIZE: Final = 12
# Of the keystreams of a vector no chunk has this number: it would have 10^34 bytes.
_WORDS: Final = b"\xff" * _IV_SIZE
_ZEROS: Final = memoryview(bytes(CHUNK_BYTES))


class Keystream:
    """What a key of 32 bytes is expanded to. Every key is used for one purpose alone."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    def write_chunk(self, number: int, into: memoryview) -> None:
        """Write chunk ``number``, from 0, or its beginning, into all of ``into`` but the last `OVERHANG` bytes."""
        zeros = _ZEROS[: len(into) - OVERHANG]
        self._cipher.encrypt_into(number.to_bytes(_IV_SIZE, "big"), zeros, None, into)

    def words(self, size: int, count: int) -> list[int]:
        """``count`` little-endian integers of ``size`` bytes: the beginning of chunk 2^96 - 1."""
        stream = self._cipher.encrypt(_WORDS, bytes(size * count), None)
        return [int.from_bytes(stream[start : start + size], "little") for start in range(0, size * count, size)]
