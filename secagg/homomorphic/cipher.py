"""Blocks of values as ciphertexts and back, with the group's secret; and sums of ciphertexts, without.

Knows SEAL through `secagg.homomorphic.seal`. Knows nothing of rings, masks or messages.

On the wire a fresh block is 64 bytes of seed, then the first polynomial; a sum is both polynomials; residues as in
`secagg.homomorphic.words`. SEAL makes and reads nothing else than its own objects: what comes from outside is taken
apart and checked here first.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from secagg.errors import RemoteProtocolError
from secagg.homomorphic.plaintexts import plaintexts_of
from secagg.homomorphic.seal import Channel, make_context, sealapi
from secagg.homomorphic.serialized import CiphertextFormat, coefficients_in, load_ciphertext, residues_in
from secagg.homomorphic.spec import SEED_SIZE, CipherSpec
from secagg.homomorphic.words import Words, check_each, pack_words, unpack_each
from secagg.labels import digest


class Cipher:
    """Encrypts and decrypts blocks under one secret, which follows from a seed.

    Attributes:
        seed: 64 bytes, uniform, of the hospitals alone. Who has the same seed has the same secret.
    """

    def __init__(self, spec: CipherSpec, seed: bytes) -> None:
        self.spec = spec
        self.seed = seed
        self._channel = Channel(2 * 8 * spec.parameters.degree)
        self._context = make_context(spec.parameters, spec.encryption, spec.bits)
        # The seed makes the secret and nothing else: what encrypts draws from the operating system.
        seeded = make_context(spec.parameters, spec.encryption, spec.bits, seed)
        self._secret = sealapi.KeyGenerator(seeded).secret_key()
        self._encryptor = sealapi.Encryptor(self._context, self._secret)
        self._decryptor = sealapi.Decryptor(self._context, self._secret)
        self._format = CiphertextFormat(spec, self._context, self._channel)
        self._plaintexts = plaintexts_of(spec, self._context, self._channel, self._format)
        self._ciphertext = sealapi.Ciphertext(self._context)
        self._plaintext = sealapi.Plaintext()

    def fingerprint(self, purpose: bytes) -> bytes:
        """SHA-256 of the secret and of the bits of plain modulus or scale: shows whether two have the same of both, and
        not what the secret is, for it has more than 256 bits."""
        # Of the residues alone: SEAL's version stands before them. And of the scale, which no context holds: two
        # hospitals of different scales have no sum.
        residues = coefficients_in(self._channel.content(self._secret))
        return digest("homomorphic secret", residues.data.cast("B"), purpose, self.spec.factor_bits)

    def try_out(self) -> None:
        """Encrypt a block of zeros for nobody: what `encrypt` raises it raises here.

        Raises:
            InputError: ``other-tenseal``.
        """
        self.encrypt(np.zeros(0, np.uint64), memoryview(bytearray(self.spec.fresh_block_size)))

    def encrypt(self, values: Words, out: memoryview) -> None:
        """Encrypt values into ``out``: N to each block of `CipherSpec.fresh_block_size` bytes.

        Args:
            values: integers below 2^T, uint64; for CKKS the upper half of them are negative. Zeros fill up the last
                block.

        Raises:
            InputError: ``other-tenseal``, if SEAL takes the seeds of ciphertexts from another generator than ours.
        """
        block, size = self.spec.block, self.spec.fresh_block_size
        for index in range(max(1, self.spec.blocks(len(values)))):
            self._plaintexts.fill(self._plaintext, values[index * block : (index + 1) * block])
            content = self._channel.content(self._encryptor.encrypt_symmetric(self._plaintext))
            target = out[index * size : (index + 1) * size]
            target[:SEED_SIZE] = self._format.seed_in(content)
            pack_words(residues_in(content, block), target[SEED_SIZE:])

    def decrypt(self, data: memoryview) -> Words:
        """The values in the blocks of a sum of ciphertexts, N to each, modulo 2^T.

        Raises:
            RemoteProtocolError: ``wrong-length`` or ``malformed``.
        """
        blocks = _sum_words(self.spec, data)
        found = np.empty((len(blocks), self.spec.block), np.uint64)
        for words, values in zip(blocks, found, strict=True):
            parts = (self._format.before_sum, words.data.cast("B"))
            load_ciphertext(self._channel, self._ciphertext, self._context, *parts)
            self._decryptor.decrypt(self._ciphertext, self._plaintext)
            self._plaintexts.read(self._plaintext, values)
        return found.reshape(-1)


class BlockSums:
    """Sums of ciphertexts, block by block, without any key.

    Args:
        blocks: how many blocks each vector has.
    """

    def __init__(self, spec: CipherSpec, blocks: int) -> None:
        self._spec = spec
        self._channel = Channel(2 * 8 * spec.parameters.degree)
        self._context = make_context(spec.parameters, spec.encryption, spec.bits)
        self._format = CiphertextFormat(spec, self._context, self._channel)
        self._evaluator = sealapi.Evaluator(self._context)
        self._sums: list[Any] = [None] * blocks
        self._incoming = sealapi.Ciphertext(self._context)

    def add(self, first: int, data: memoryview) -> None:
        """Add fresh blocks that `check_fresh` has let pass, to the sums from ``first`` on."""
        before, between, size = self._format.before_fresh, self._format.before_seed, self._spec.fresh_block_size
        # All of them unpacked at once: numpy takes its time to get going.
        for index, words in enumerate(unpack_each(_fresh_words(self._spec, data))):
            seed = data[index * size : index * size + SEED_SIZE]
            self._load_and_add(first + index, (before, words.data.cast("B"), between, seed))

    def _load_and_add(self, block: int, parts: tuple[bytes | memoryview, ...]) -> None:
        if self._sums[block] is None:
            self._sums[block] = sealapi.Ciphertext(self._context)
            self._channel.load(self._sums[block], self._context, *parts)
            return
        self._channel.load(self._incoming, self._context, *parts)
        self._evaluator.add_inplace(self._sums[block], self._incoming)

    def holds(self, block: int) -> bool:
        """Whether anything has been added to the sum of this block, and not been taken since."""
        return self._sums[block] is not None

    def merge(self, first: int, data: memoryview) -> None:
        """Add sums of blocks, from ``first`` on, that another process has taken."""
        for index, words in enumerate(_sum_words(self._spec, data)):
            self._load_and_add(first + index, (self._format.before_sum, words.data.cast("B")))

    def take(self, first: int, out: memoryview) -> None:
        """Write the sums of blocks, from ``first`` on, into ``out``, and let go of them.

        They are `CipherSpec.sum_block_size` bytes each.
        """
        block, half = self._spec.block, self._spec.sum_block_size // 2
        for index in range(len(out) // (2 * half)):
            item, self._sums[first + index] = self._sums[first + index], None
            words = residues_in(self._channel.content(item), 2 * block)
            for part in range(2):
                start = (2 * index + part) * half
                pack_words(words[part * block : (part + 1) * block], out[start : start + half])


def check_fresh(spec: CipherSpec, blocks: int, data: memoryview) -> None:
    """Refuse what is no vector of so many fresh blocks: all of it, before any of it is added.

    Raises:
        RemoteProtocolError: ``wrong-length`` or ``malformed``.
    """
    _require_length(data, blocks * spec.fresh_block_size)
    check_each(_fresh_words(spec, data), spec.parameters.modulus)


def check_sum_blocks(spec: CipherSpec, blocks: int, data: memoryview) -> None:
    """Refuse what is no sum of so many blocks.

    Raises:
        RemoteProtocolError: ``wrong-length`` or ``malformed``.
    """
    _require_length(data, blocks * spec.sum_block_size)
    check_each(_sum_rows(data, blocks), spec.parameters.modulus)


def _fresh_words(spec: CipherSpec, data: memoryview) -> Words:
    """The packed residues of fresh blocks, a row each, without the seeds."""
    return np.frombuffer(data, "<u8").reshape(-1, spec.fresh_block_size // 8)[:, SEED_SIZE // 8 :]


def _sum_rows(data: memoryview, blocks: int) -> Words:
    """The packed residues of blocks of a sum, a row for each of their two polynomials."""
    return np.frombuffer(data, "<u8").reshape(2 * blocks, -1)


def _sum_words(spec: CipherSpec, data: memoryview) -> Words:
    """The residues of blocks of a sum, a row each: of both polynomials."""
    blocks = max(1, len(data) // spec.sum_block_size)
    check_sum_blocks(spec, blocks, data)
    return unpack_each(_sum_rows(data, blocks)).reshape(blocks, -1)


def _require_length(data: memoryview, due: int) -> None:
    if len(data) != due:
        raise RemoteProtocolError("wrong-length", f"Ciphertexts of {len(data)} bytes came where {due} are due.")
