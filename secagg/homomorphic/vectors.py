"""Whole vectors as ciphertexts and back, block by block: never more than a block beside what goes in and out.

Knows forms, values and blocks. Knows nothing of masks, messages or sessions.
"""

from __future__ import annotations

import numpy as np

from secagg.encoding.ring import RingVector
from secagg.homomorphic.cipher import BlockSums, Cipher, check_fresh
from secagg.homomorphic.form import EncryptedForm


def encrypt_vector(packed: RingVector, form: EncryptedForm, cipher: Cipher, out: memoryview) -> None:
    """Encrypt packed elements, shape (form.packed_count,), into ``out``, ``form.fresh_size`` bytes."""
    size = form.spec.fresh_block_size
    for index, elements in enumerate(form.by_block(packed)):
        cipher.encrypt(form.values.values(elements), out[index * size : (index + 1) * size])


def decrypt_vector(data: memoryview, form: EncryptedForm, cipher: Cipher) -> RingVector:
    """The packed elements, shape (form.packed_count,), of a sum of ``form.sum_size`` bytes.

    Raises:
        RemoteProtocolError: ``malformed``; ``wrong-length``.
    """
    packed = np.empty(form.packed_count, form.values.packed_ring.dtype)
    size = form.spec.sum_block_size
    for index, elements in enumerate(form.by_block(packed)):
        values = cipher.decrypt(data[index * size : (index + 1) * size])
        elements[:] = form.values.from_values(values)[: len(elements)]
    return packed


class CiphertextSum:
    """The sum of hospitals' encrypted vectors, added up without any key."""

    def __init__(self, form: EncryptedForm) -> None:
        self._form = form
        self._sums = BlockSums(form.spec, form.blocks)

    def add(self, data: memoryview) -> None:
        """Add one hospital's vector.

        Raises:
            RemoteProtocolError: ``wrong-length`` or ``malformed``; the sum is what it was then.
        """
        check_fresh(self._form.spec, self._form.value_count, data)
        size = self._form.spec.fresh_block_size
        for index in range(self._form.blocks):
            self._sums.add(index, data[index * size : (index + 1) * size])

    def take(self, out: memoryview) -> None:
        """Write the sum into ``out``, ``form.sum_size`` bytes; it is gone here then."""
        size = self._form.spec.sum_block_size
        for index in range(self._form.blocks):
            self._sums.take(index, out[index * size : (index + 1) * size])
