"""How long this machine takes to encrypt, add and decrypt whole vectors, on one core: measured on some blocks of them.

Knows forms and ciphertexts. Loads TenSEAL when it is asked to measure, and not before.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, replace
from functools import lru_cache
from statistics import median
from typing import Final

import numpy as np

from secagg.charter.encryption import terms_of
from secagg.homomorphic.form import EncryptedForm
from secagg.masking.keystream import SignedKey, add_masks
from secagg.masking.prg import KEY_SIZE
from training.costs.stopwatch import seconds
from training.costs.vectors import random_elements
from training.encryption_trial import numbers_a_second

_SEED_SIZE: Final = 64
# Enough to leave the cache, and too few for worker processes.
_BLOCKS: Final = 12
_FEW: Final = 5
_SUMMED: Final = 3


@dataclass(frozen=True)
class CipherTimes:
    """CPU seconds for one vector, and for the secret of an epoch.

    Attributes:
        key: making the secret of the group key, trying it out, and its fingerprint.
        context: the parameters as they are told to the coordinator.
        encryption: at a hospital, from ring elements, masks left out.
        mask: each mask, as wide as the values that are encrypted.
        beginning: of a sum at the coordinator.
        addition: checking a fresh vector, loading it, adding it to a sum.
        taking: writing a sum down.
        decryption: at a hospital, back to ring elements.
    """

    key: float
    context: float
    encryption: float
    mask: float
    beginning: float
    addition: float
    taking: float
    decryption: float


@lru_cache(maxsize=16)
def cipher_times(form: EncryptedForm) -> CipherTimes:
    """For vectors of this form.

    Raises:
        InputError: of `numbers_a_second`, if this machine cannot encrypt.
    """
    # First, to see that it works at all: it is this that says what is missing where it does not.
    numbers_a_second(terms_of(form))
    # Only here: TenSEAL is loaded where something is encrypted.
    from secagg.homomorphic.cipher import Cipher
    from secagg.homomorphic.context import public_context
    from secagg.homomorphic.vectors import CiphertextSum, decrypt_vector, encrypt_vector

    measured = _some_blocks(form)
    factor = form.blocks / measured.blocks
    spec, codec = form.spec, form.codec
    cipher = Cipher(spec, os.urandom(_SEED_SIZE))
    # Of zeros it would be quicker: SEAL leaves them away.
    vector = random_elements(codec.ring, measured.length)
    packed = codec.pack(vector)
    fresh, total = memoryview(bytearray(measured.fresh_size)), memoryview(bytearray(measured.sum_size))
    encrypt_vector(packed, measured, cipher, fresh)
    sums = []
    for _ in range(_FEW):
        readings, started = [], time.process_time()
        running = CiphertextSum(measured)
        readings.append(time.process_time() - started)
        for _ in range(_SUMMED):
            started = time.process_time()
            running.add(fresh)
            readings.append(time.process_time() - started)
        started = time.process_time()
        running.take(total)
        sums.append((readings[0], readings[-1], time.process_time() - started))
    beginning, addition, taking = (median(column) for column in zip(*sums, strict=True))

    def decrypted() -> None:
        codec.unpack(decrypt_vector(total, measured, cipher), measured.length)

    def made() -> None:
        other = Cipher(spec, os.urandom(_SEED_SIZE))
        other.try_out()
        other.fingerprint(b"")

    key, context, encryption, decryption = seconds(
        made,
        lambda: public_context(spec),
        lambda: encrypt_vector(codec.pack(vector), measured, cipher, fresh),
        decrypted,
        turns=_FEW,
    )
    return CipherTimes(
        key=key,
        context=context,
        encryption=factor * encryption,
        mask=form.packed_count / len(packed) * _mask(packed),
        beginning=beginning,
        addition=factor * addition,
        taking=factor * taking,
        decryption=factor * decryption,
    )


def _some_blocks(form: EncryptedForm) -> EncryptedForm:
    """The same form for the first blocks of a vector, for few hospitals: no worker processes help with it."""
    share = min(1.0, _BLOCKS / form.blocks)
    return replace(form, length=max(1, int(form.length * share)), contributors=_SUMMED)


def _mask(packed: np.ndarray) -> float:
    keys = [SignedKey(os.urandom(KEY_SIZE), 1) for _ in range(_FEW)]
    return seconds(lambda: add_masks(packed.copy(), keys, [0], 8), turns=_FEW)[0] / len(keys)
