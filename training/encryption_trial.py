"""Whether this machine can encrypt, add and decrypt, and how fast: a sum of ciphertexts under a key made for it.

Knows TenSEAL only through `secagg.homomorphic`, and loads it when it is tried: a machine without it is told so.
"""

from __future__ import annotations

import math
import os
import time
from typing import Any

import numpy as np

from secagg.charter.encryption import EncryptionTerms
from secagg.errors import InputError

_REPEATS = 20
_SEED_SIZE = 64


def numbers_a_second(terms: EncryptionTerms) -> float:
    """Encrypt, add and decrypt random numbers; how many this machine encrypts in a second, on one core.

    Raises:
        InputError: ``no-tenseal``, ``no-anonymous-memory``, ``other-tenseal``, ``other-modulus``, ``wrong-sum``.
    """
    library, spec = _load(), terms.spec
    cipher, sums = library.Cipher(spec, os.urandom(_SEED_SIZE)), library.BlockSums(spec, blocks=1)
    fresh, total = memoryview(bytearray(spec.fresh_block_size)), memoryview(bytearray(spec.sum_block_size))
    vectors, seconds = [], math.inf
    for _ in range(_REPEATS):
        # Their sum is a signed number of as many bits as the encryption takes.
        vectors.append(np.frombuffer(os.urandom(8 * spec.block), "<u8") // (_REPEATS << (65 - spec.bits)))
        started = time.perf_counter()
        cipher.encrypt(vectors[-1], fresh)
        # The fastest: what it takes when nothing else is going on.
        seconds = min(seconds, time.perf_counter() - started)
        sums.add(0, fresh)
    sums.take(0, total)
    _require_sum(np.sum(vectors, axis=0), cipher.decrypt(total))
    return spec.block * terms.numbers_per_value / seconds


def _load() -> Any:
    try:
        # Only here: every other use of this module does without TenSEAL.
        import secagg.homomorphic.cipher as library
    except ImportError as error:
        raise InputError(
            "no-tenseal",
            f"TenSEAL cannot be loaded: {error}.",
            culprit="tenseal",
            remedy="Install it again, or choose the scheme mask, which does not need it.",
        ) from error
    return library


def _require_sum(due: np.ndarray, found: np.ndarray) -> None:
    if not np.array_equal(found, due):
        raise InputError(
            "wrong-sum",
            "A sum of ciphertexts decrypts to something else on this machine.",
            culprit="tenseal",
            remedy="Install another release of TenSEAL; until then choose the scheme mask.",
        )
