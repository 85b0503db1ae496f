"""Whether this machine can encrypt, add and decrypt, and how fast: a sum of ciphertexts under a key made for it.

Knows TenSEAL only through `secagg.homomorphic`, and loads it when it is tried: a machine without it is told so.
"""

from __future__ import annotations

import math
import os
import time

import numpy as np
import numpy.typing as npt

from secagg.charter.encryption import EncryptionTerms
from secagg.errors import InputError

Integers = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]

_REPEATS = 20
_SEED_SIZE = 64


def numbers_a_second(terms: EncryptionTerms) -> float:
    """Encrypt, add and decrypt random numbers; how many this machine encrypts in a second, on one core.

    Raises:
        InputError: ``no-tenseal``, ``no-anonymous-memory``, ``other-tenseal``, ``other-modulus``, ``wrong-sum``.
    """
    # Only here: every other use of this module does without TenSEAL.
    from secagg.homomorphic.cipher import BlockSums, Cipher

    spec = terms.spec
    cipher, sums = Cipher(spec, os.urandom(_SEED_SIZE)), BlockSums(spec, blocks=1)
    fresh, total = memoryview(bytearray(spec.fresh_block_size)), memoryview(bytearray(spec.sum_block_size))
    # The noise of more than there are hospitals may come to more than there is room for.
    summed = min(_REPEATS, terms.contributors)
    vectors, seconds = [], math.inf
    for repeat in range(_REPEATS):
        values = _drawn(spec.block, spec.bits, summed)
        started = time.perf_counter()
        cipher.encrypt(_modulo(values, spec.bits), fresh)
        # The fastest: what it takes when nothing else is going on.
        seconds = min(seconds, time.perf_counter() - started)
        if repeat < summed:
            vectors.append(values)
            sums.add(0, fresh)
    sums.take(0, total)
    _require_sum(_modulo(np.sum(vectors, axis=0, dtype=np.int64), spec.bits), cipher.decrypt(total))
    return spec.block * terms.numbers_per_value / seconds


def _drawn(count: int, bits: int, summed: int) -> Integers:
    """Numbers of both signs, int64; the sum of ``summed`` of them is still a signed number of so many bits."""
    return (np.frombuffer(os.urandom(8 * count), "<i8") >> (64 - bits)) // summed


def _modulo(values: Integers, bits: int) -> Words:
    """The same modulo 2^bits, as they are encrypted: negative ones wrap when they are added."""
    return values.view(np.uint64) & np.uint64((1 << bits) - 1)


def _require_sum(due: Words, found: Words) -> None:
    if not np.array_equal(found, due):
        raise InputError(
            "wrong-sum",
            "A sum of ciphertexts decrypts to something else on this machine.",
            culprit="tenseal",
            remedy="Install another release of TenSEAL; until then choose the scheme mask.",
        )
