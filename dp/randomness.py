"""The one source of randomness for sampling and noise: AES-128 in counter mode, keyed by the operating system.

Knows how a generator is keyed. Knows nothing of distributions: those are numpy's, on top of this generator's bits.
"""

from __future__ import annotations

import secrets
from typing import Final

import numpy as np
from randomgen import AESCounter

KEY_SIZE: Final = 16


def secure_generator(key: bytes | None = None) -> np.random.Generator:
    """A numpy generator whose bits are AES-128 in counter mode (NIST SP 800-38A): the encryptions of 0, 1, 2, ...

    The counter block is little-endian, as the standard allows, so that from the second block on this is not the
    keystream of libraries whose counter is big-endian. The 128-bit key is used as it is. Numpy's usual seeding would
    pass it through a mixer that is no cryptography.

    Args:
        key: 16 bytes; fresh from the operating system if not given. Given only to record a run.

    Raises:
        ValueError: if it is not 16 bytes.
    """
    if key is not None and len(key) != KEY_SIZE:
        raise ValueError(f"a generator's key has {KEY_SIZE} bytes, not {len(key)}")
    number = int.from_bytes(key if key is not None else secrets.token_bytes(KEY_SIZE), "little")
    return np.random.Generator(AESCounter(key=number))
