"""Domain separation: the one place where labels for keys, hashes and signatures are made.

Knows how to turn a purpose and its context into unambiguous bytes. Knows nothing of what is derived from them.
"""

from __future__ import annotations

import hashlib
from typing import Final

PROTOCOL: Final = b"secagg/1"
DIGEST_SIZE: Final = 32


def label(purpose: str, *context: bytes | int | str) -> bytes:
    """Unambiguous bytes for one purpose in one context.

    ``"secagg/1"``, the purpose and each context field follow one another, each preceded by its length as an unsigned
    32-bit big-endian integer; integers are fields of 8 bytes, unsigned big-endian, text is UTF-8. No two different
    (purpose, context) give the same bytes, whatever the fields contain.

    Raises:
        OverflowError: an integer is negative or needs more than 64 bits.
    """
    fields = [PROTOCOL, purpose.encode()]
    for item in context:
        if isinstance(item, int):
            fields.append(item.to_bytes(8, "big"))
        elif isinstance(item, str):
            fields.append(item.encode())
        else:
            fields.append(item)
    return b"".join(len(field).to_bytes(4, "big") + field for field in fields)


def digest(purpose: str, data: bytes | memoryview, *context: bytes | int | str) -> bytes:
    """SHA-256 (FIPS 180-4) of ``label(purpose, *context)`` followed by ``data``: 32 bytes."""
    hasher = hashlib.sha256(label(purpose, *context))
    hasher.update(data)
    return hasher.digest()
