"""Encryption, decryption and addition of whole vectors, in pieces that worker processes can take.

Knows forms, blocks and the memory that they are handed over in. The other side is `secagg.homomorphic.services`.
"""

from __future__ import annotations

from collections import deque
from typing import Final

import msgspec

from secagg.encoding.ring import RingVector
from secagg.homomorphic.cipher import BlockSums, Cipher
from secagg.homomorphic.form import EncryptedForm
from secagg.homomorphic.services import TAKE, WORKERS, CipherBrief, FormBrief
from secagg.processes.job import Piece, Work
from secagg.processes.worker import SLOT_BYTES

PARALLEL_FROM_BLOCKS: Final = 16
"""Blocks from which on workers are asked to encrypt or decrypt."""

PARALLEL_ADD_FROM_BLOCKS: Final = 2000
"""Blocks of all hospitals together from which on workers are asked to add: it takes them half a second to start."""

# Enough to make up for what numpy takes to get going, and little enough for the second-level cache and to finish at
# once everywhere.
_MOST_VALUES: Final = 1 << 14
# A block takes one or two milliseconds; a worker may have lost its core to somebody else.
_PATIENCE_SECONDS: Final = 0.05


def pieces(form: EncryptedForm, first: int, end: int) -> deque[Piece]:
    """The blocks from ``first`` to before ``end``, as (first block, blocks), as many to each as go into a slot."""
    most = min(_MOST_VALUES // form.spec.block, SLOT_BYTES // max(form.spec.sum_block_size, 8 * form.spec.block))
    return deque((start, min(most, end - start)) for start in range(first, end, most))


def taking(todo: deque[Piece]) -> deque[Piece]:
    """The same pieces, their sums asked for."""
    return deque((first, TAKE + count) for first, count in todo)


def cipher_brief(form: EncryptedForm, cipher: Cipher) -> CipherBrief:
    """What a worker needs to make the same cipher, and to see that it has."""
    return CipherBrief(form_brief(form), cipher.seed, form.spec.bits, cipher.fingerprint(WORKERS))


def form_brief(form: EncryptedForm) -> FormBrief:
    """What a worker needs to make the same form."""
    spec = form.spec
    ring = form.codec.ring
    return FormBrief(spec.parameters.name, spec.encryption, ring.bits, form.length, form.contributors)


class EncryptJob:
    """Packed elements, shape (form.packed_count,), into ``out``, ``form.fresh_size`` bytes."""

    work = Work.ENCRYPT
    patience = _PATIENCE_SECONDS

    def __init__(self, packed: RingVector, form: EncryptedForm, cipher: Cipher, out: memoryview) -> None:
        self._packed, self._form, self._cipher, self._out = packed, form, cipher, out

    def brief(self) -> bytes:
        """The form, the seed of the secret, and what must come of both."""
        return msgspec.msgpack.encode(cipher_brief(self._form, self._cipher))

    def hand_over(self, piece: Piece, slot: memoryview) -> None:
        """The piece's elements."""
        elements = self._packed[self._form.elements_of(piece)]
        slot[: elements.nbytes] = elements.data.cast("B")

    def result(self, piece: Piece, slot: memoryview) -> None:
        """Copy what a worker has made to its place."""
        target = self._target(piece)
        target[:] = slot[: len(target)]

    def compute(self, piece: Piece) -> None:
        """The same, here."""
        values = self._form.codec.values(self._packed[self._form.elements_of(piece)])
        self._cipher.encrypt(values, self._target(piece))

    def _target(self, piece: Piece) -> memoryview:
        size = self._form.spec.fresh_block_size
        return self._out[piece[0] * size : sum(piece) * size]


class DecryptJob:
    """A sum of ``form.sum_size`` bytes into packed elements, shape (form.packed_count,).

    A worker that meets a malformed block dies of it; its piece is done here then, where it is an error.
    """

    work = Work.DECRYPT
    patience = _PATIENCE_SECONDS

    def __init__(self, data: memoryview, form: EncryptedForm, cipher: Cipher, packed: RingVector) -> None:
        self._data, self._form, self._cipher, self._packed = data, form, cipher, packed

    def brief(self) -> bytes:
        """The form, the seed of the secret, and what must come of both."""
        return msgspec.msgpack.encode(cipher_brief(self._form, self._cipher))

    def hand_over(self, piece: Piece, slot: memoryview) -> None:
        """The piece's ciphertexts."""
        source = self._source(piece)
        slot[: len(source)] = source

    def result(self, piece: Piece, slot: memoryview) -> None:
        """Copy what a worker has made to its place."""
        elements = self._packed[self._form.elements_of(piece)]
        elements.data.cast("B")[:] = slot[: elements.nbytes]

    def compute(self, piece: Piece) -> None:
        """The same, here.

        Raises:
            RemoteProtocolError: ``malformed``.
        """
        elements = self._packed[self._form.elements_of(piece)]
        values = self._cipher.decrypt(self._source(piece))
        elements[:] = self._form.codec.from_values(values)[: len(elements)]

    def _source(self, piece: Piece) -> memoryview:
        size = self._form.spec.sum_block_size
        return self._data[piece[0] * size : sum(piece) * size]


class AddJob:
    """Fresh vectors, one after the other, into sums that stay with whoever added them, all blocks of a piece together.

    Attributes:
        data: the vector that is being added, or the memory that the sums are to be written to.
    """

    work = Work.ADD
    patience = _PATIENCE_SECONDS

    def __init__(self, form: EncryptedForm) -> None:
        self._form = form
        self._sums = BlockSums(form.spec, form.blocks)
        self.data = memoryview(b"")

    def brief(self) -> bytes:
        """The form: there is no secret."""
        return msgspec.msgpack.encode(form_brief(self._form))

    def hand_over(self, piece: Piece, slot: memoryview) -> None:
        """The piece's fresh blocks; nothing where sums are asked for."""
        if piece[1] < TAKE:
            source = self._fresh(piece)
            slot[: len(source)] = source

    def result(self, piece: Piece, slot: memoryview) -> None:
        """Where a worker gives its sums, add those here to them; where there are none here, its own are the sums."""
        if piece[1] < TAKE:
            return
        target = self._taken(piece)
        if self._sums.holds(piece[0]):
            self._sums.merge(piece[0], slot[: len(target)])
        else:
            target[:] = slot[: len(target)]

    def compute(self, piece: Piece) -> None:
        """Add the piece's blocks here, or write the sums of those that were added here."""
        if piece[1] < TAKE:
            self._sums.add(piece[0], self._fresh(piece))
        elif self._sums.holds(piece[0]):
            self._sums.take(piece[0], self._taken(piece))

    def _fresh(self, piece: Piece) -> memoryview:
        size = self._form.spec.fresh_block_size
        return self.data[piece[0] * size : (piece[0] + piece[1] % TAKE) * size]

    def _taken(self, piece: Piece) -> memoryview:
        size = self._form.spec.sum_block_size
        return self.data[piece[0] * size : (piece[0] + piece[1] % TAKE) * size]
