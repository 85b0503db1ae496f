"""Encryption, decryption and addition of blocks in a worker process.

Knows blocks and the memory that they are handed over in. The other side is `secagg.homomorphic.jobs`.
"""

from __future__ import annotations

from typing import Final

import msgspec
import numpy as np

from secagg.encoding.ring import Ring
from secagg.homomorphic.cipher import BlockSums, Cipher
from secagg.homomorphic.form import EncryptedForm, approximate_form, exact_form
from secagg.homomorphic.parameters import Encryption, parameter_set

TAKE: Final = 1 << 32
"""In a piece of an addition: how many blocks, and this if their sums are asked for."""

WORKERS: Final = b"workers"
"""The purpose of a fingerprint that never leaves this machine."""


class FormBrief(msgspec.Struct, frozen=True):
    """What a form is made of."""

    parameters: str
    encryption: Encryption
    ring_bits: int
    length: int
    contributors: int

    def form(self) -> EncryptedForm:
        """The form."""
        make = exact_form if self.encryption is Encryption.BFV else approximate_form
        return make(parameter_set(self.parameters), Ring(self.ring_bits), self.length, self.contributors)


class CipherBrief(msgspec.Struct, frozen=True):
    """What a cipher is made of, and what must come of it.

    Attributes:
        bits: T.
        fingerprint: of secret and scale, for `WORKERS`.
    """

    form: FormBrief
    seed: bytes
    bits: int
    fingerprint: bytes

    def __repr__(self) -> str:
        return f"CipherBrief({self.form})"


class EncryptService:
    """Encrypts; a piece is (first block, blocks). Handed over: packed elements; made: fresh blocks."""

    def __init__(self, brief: bytes) -> None:
        self._form, self._cipher = _cipher(brief)

    def serve(self, piece: tuple[int, int], slot: memoryview) -> None:
        """Encrypt the piece's blocks."""
        form = self._form
        # Values are a copy: what is made lies where what was handed over lay.
        values = form.codec.values(np.frombuffer(slot, form.packed_type, form.elements_in(piece)))
        self._cipher.encrypt(values, slot[: piece[1] * form.spec.fresh_block_size])


class DecryptService:
    """Decrypts; a piece is (first block, blocks). Handed over: blocks of a sum; made: packed elements."""

    def __init__(self, brief: bytes) -> None:
        self._form, self._cipher = _cipher(brief)

    def serve(self, piece: tuple[int, int], slot: memoryview) -> None:
        """Decrypt the piece's blocks."""
        form, count = self._form, self._form.elements_in(piece)
        values = self._cipher.decrypt(slot[: piece[1] * form.spec.sum_block_size])
        packed = form.codec.from_values(values)[:count]
        slot[: packed.nbytes] = packed.data.cast("B")


class AddService:
    """Adds; a piece is (first block, blocks), or (first block, blocks + TAKE) for their sums.

    Handed over: fresh blocks; made: nothing, or blocks of the sum.
    """

    def __init__(self, brief: bytes) -> None:
        form = msgspec.msgpack.decode(brief, type=FormBrief).form()
        self._spec = form.spec
        self._sums = BlockSums(form.spec, form.blocks)

    def serve(self, piece: tuple[int, int], slot: memoryview) -> None:
        """Add the piece's blocks, or give their sums."""
        first, count = piece[0], piece[1] % TAKE
        if piece[1] < TAKE:
            self._sums.add(first, slot[: count * self._spec.fresh_block_size])
        else:
            self._sums.take(first, slot[: count * self._spec.sum_block_size])


def _cipher(brief: bytes) -> tuple[EncryptedForm, Cipher]:
    told = msgspec.msgpack.decode(brief, type=CipherBrief)
    form = told.form.form()
    cipher = Cipher(form.spec, told.seed)
    if (form.spec.bits, cipher.fingerprint(WORKERS)) != (told.bits, told.fingerprint):
        # It began after an update of the toolkit, and its employer before: together they would make a false vector.
        raise ValueError("this worker encrypts otherwise than its employer")
    return form, cipher
