"""AES-256-GCM under keys that seal one message each.

Knows keys and bytes. Knows nothing of what is sealed, or for whom.

Such a key is derived from a secret together with all that tells its message from others, so that it seals no other: its
nonce can be zero and need not be sent.
"""

from __future__ import annotations

from typing import Final

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_NONCE: Final = bytes(12)


class OneTimeKey:
    """A key for one message, 32 bytes."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    def seal(self, content: bytes, bound: bytes = b"") -> bytes:
        """``content``, readable for those who have the key; 16 bytes longer. It opens with the same ``bound`` only."""
        return self._cipher.encrypt(_NONCE, content, bound)

    def open(self, sealed: bytes | memoryview, bound: bytes = b"") -> bytes:
        """What was sealed.

        Raises:
            InvalidTag: if it was not with this key and ``bound``.
        """
        return self._cipher.decrypt(_NONCE, sealed, bound)
