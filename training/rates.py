"""How fast this machine does what the protocol is made of: each operation measured for a moment, on one core.

Knows single operations. How often a party does each is in `training.planning`.
"""

from __future__ import annotations

import hashlib
import math
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

import numpy as np

from secagg.charter.encryption import terms_of
from secagg.encoding.ring import Ring, RingVector
from secagg.homomorphic.form import EncryptedForm
from secagg.identity import Identity, is_valid_signature
from secagg.labels import label
from secagg.latch import Latch, Sighting
from secagg.masking import kdf, shamir
from secagg.masking.keystream import SignedKey, add_masks
from training.encryption_trial import numbers_a_second

# How often to run what takes milliseconds.
_FEW: Final = 5
_MEASURED_BYTES: Final = 1 << 20
_SEED_SIZE: Final = 64


@dataclass(frozen=True)
class Rates:
    """Seconds an operation, bytes a second."""

    agreement: float
    signature: float
    verification: float
    digest: float
    record: float
    keystream: float
    hashing: float

    @classmethod
    def measured(cls) -> Rates:
        """Those of this machine."""
        identity, message = Identity.generate(), bytes(100)
        signature, private = identity.sign(message), os.urandom(32)
        public = kdf.public_key(os.urandom(32))
        buffer = np.zeros(_MEASURED_BYTES // 4, np.uint32)
        keys = [SignedKey(os.urandom(32), 1) for _ in range(4)]
        return cls(
            agreement=seconds(lambda: kdf.expand(kdf.agree(private, public, ""), message)),
            signature=seconds(lambda: identity.sign(message)),
            verification=seconds(lambda: is_valid_signature(identity.public_key, signature, message)),
            digest=seconds(lambda: hashlib.sha256(label("share", message, 1, 2) + message).digest()),
            record=_latch_write(),
            keystream=len(keys) * _MEASURED_BYTES / seconds(lambda: add_masks(buffer, keys), at_most=_FEW),
            hashing=_MEASURED_BYTES
            / seconds(lambda: hashlib.sha256(memoryview(buffer).cast("B")).digest(), at_most=_FEW),
        )


@dataclass(frozen=True)
class CipherRates:
    """Seconds for one block, and for the secret of an epoch.

    Attributes:
        key: making the secret of the group key, and its fingerprint.
        encryption, decryption: at a hospital, from ring elements and back to them.
        addition: at the coordinator: checking a fresh block, loading it, adding it to a sum.
    """

    key: float
    encryption: float
    addition: float
    decryption: float


@lru_cache(maxsize=16)
def cipher_rates(form: EncryptedForm) -> CipherRates:
    """Those of this machine, for the blocks of this form.

    Raises:
        InputError: of `numbers_a_second`, if it cannot encrypt.
    """
    terms = terms_of(form)
    # First, to see that it works at all: it is this that says what is missing where it does not.
    numbers_a_second(terms)
    # Only here: TenSEAL is loaded where something is encrypted.
    from secagg.homomorphic.cipher import BlockSums, Cipher, check_fresh

    spec, values = form.spec, form.values
    cipher, sums = Cipher(spec, os.urandom(_SEED_SIZE)), BlockSums(spec, blocks=1)
    fresh, total = memoryview(bytearray(spec.fresh_block_size)), memoryview(bytearray(spec.sum_block_size))
    # Of zeros it would be quicker: SEAL leaves them away.
    numbers = _random_elements(values.ring, min(form.length, round(spec.block * terms.numbers_per_value)))

    def add() -> None:
        check_fresh(spec, 1, fresh)
        sums.add(0, fresh)

    key = seconds(lambda: Cipher(spec, os.urandom(_SEED_SIZE)).fingerprint(b""), at_most=_FEW)
    encryption = seconds(lambda: cipher.encrypt(values.values(values.pack(numbers)), fresh), at_most=_FEW)
    addition = seconds(add, at_most=_FEW)
    sums.take(0, total)
    decryption = seconds(lambda: values.unpack(values.from_values(cipher.decrypt(total)), len(numbers)), at_most=_FEW)
    return CipherRates(key, encryption, addition, decryption)


@lru_cache(maxsize=16)
def sharing_time(threshold: int, holders: int) -> float:
    """Seconds to share one secret."""
    points = range(1, holders + 1)
    return seconds(lambda: shamir.share(bytes(32), threshold, points, os.urandom), at_most=_FEW)


@lru_cache(maxsize=16)
def rebuilding_time(threshold: int) -> float:
    """Seconds to rebuild one secret, of the same holders as the one before."""
    shares = {number: bytes(32) for number in range(1, threshold + 1)}
    return seconds(lambda: shamir.reconstruct(shares), at_most=_FEW)


@lru_cache(maxsize=16)
def basis_time(threshold: int) -> float:
    """Seconds that it takes longer, of other holders."""
    points = tuple(range(1, threshold + 1))
    return seconds(lambda: shamir.basis(points), at_most=_FEW)


def seconds(operation: Callable[[], object], at_most: int = 200) -> float:
    """The fastest of some runs: what it takes when nothing else is going on."""
    best = math.inf
    for _ in range(at_most):
        started = time.perf_counter()
        operation()
        best = min(best, time.perf_counter() - started)
    return best


def _random_elements(ring: Ring, count: int) -> RingVector:
    elements = np.frombuffer(os.urandom(count * ring.dtype.itemsize), ring.dtype).copy()
    ring.reduce(elements)
    return elements


def _latch_write() -> float:
    with tempfile.TemporaryDirectory() as folder, Latch(Path(folder) / "latch") as latch:
        return seconds(lambda: latch.record_seen(bytes(32), {1: Sighting(1, 1)}), at_most=_FEW)
