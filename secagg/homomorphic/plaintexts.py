"""Integers in the coefficients of SEAL's plaintexts, and back out of what SEAL decrypts.

Knows SEAL's plaintexts and how BFV and CKKS take them. Knows nothing of vectors or secrets.

Ciphertexts are only ever added, which needs none of CKKS's slots (Cheon et al. 2017, section 3.2): coefficients add as
well, without the rounding and the larger noise that the way to the slots and back costs.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from secagg.homomorphic.parameters import Encryption
from secagg.homomorphic.seal import Channel, sealapi
from secagg.homomorphic.serialized import CiphertextFormat, coefficients_in, plaintext_head, residues_in
from secagg.homomorphic.spec import CipherSpec
from secagg.homomorphic.words import Words


class Plaintexts(Protocol):
    """Up to N integers below 2^T as one of SEAL's plaintexts, and back."""

    def fill(self, plaintext: Any, values: Words) -> None:
        """Make ``plaintext`` that of ``values``, uint64; zeros fill it up."""

    def read(self, plaintext: Any, values: Words) -> None:
        """Write what a decrypted plaintext holds into ``values``, uint64 (N,), modulo 2^T."""


def plaintexts_of(spec: CipherSpec, context: Any, channel: Channel, layout: CiphertextFormat) -> Plaintexts:
    """Those of a spec's encryption."""
    match spec.encryption:
        case Encryption.BFV:
            return ModularPlaintexts(spec, context, channel)
        case Encryption.CKKS:
            return ScaledPlaintexts(spec, context, channel, layout)


class ModularPlaintexts:
    """BFV's: integers modulo 2^T, as they are."""

    def __init__(self, spec: CipherSpec, context: Any, channel: Channel) -> None:
        self._context, self._channel = context, channel
        self._head = plaintext_head(spec.block)
        self._coefficients = np.zeros(spec.block, "<u8")

    def fill(self, plaintext: Any, values: Words) -> None:
        """See `Plaintexts`."""
        self._coefficients[: len(values)] = values
        self._coefficients[len(values) :] = 0
        self._channel.load(plaintext, self._context, self._head, self._coefficients.data.cast("B"))

    def read(self, plaintext: Any, values: Words) -> None:
        """See `Plaintexts`."""
        found = coefficients_in(self._channel.content(plaintext))
        values[: len(found)] = found
        values[len(found) :] = 0


class ScaledPlaintexts:
    """CKKS's: signed integers of T bits times 2^S modulo q, transformed (NTT), as CKKS adds them.

    What comes back is 2^S v + e modulo q: v is what that is nearest to, if |e| < 2^(S-1) and |2^S v + e| < q / 2.

    SEAL transforms CKKS's ciphertexts alone, not its plaintexts: so coefficients pass through it as the first
    polynomial of something that is laid out as a ciphertext, and encrypts nothing. The second is 1, since SEAL refuses
    to transform where that is 0.
    """

    def __init__(self, spec: CipherSpec, context: Any, channel: Channel, layout: CiphertextFormat) -> None:
        self._spec, self._context, self._channel, self._layout = spec, context, channel, layout
        self._head = plaintext_head(spec.block, tuple(context.first_parms_id()), 2.0**spec.scale_bits)
        self._evaluator, self._passing = sealapi.Evaluator(context), sealapi.Ciphertext(context)
        one = np.zeros(spec.block, "<u8")
        one[0] = 1
        self._one, self._one_transformed = one.tobytes(), np.ones(spec.block, "<u8").tobytes()
        self._scaled = np.zeros(spec.block, "<i8")

    def fill(self, plaintext: Any, values: Words) -> None:
        """See `Plaintexts`."""
        unused = 64 - self._spec.bits
        scaled = self._scaled[: len(values)]
        # The sign to the top, and down again as far as the scale.
        np.right_shift((values << np.uint64(unused)).view(np.int64), unused - self._spec.scale_bits, out=scaled)
        scaled += self._spec.parameters.modulus * (scaled < 0)
        self._scaled[len(values) :] = 0
        self._pass(self._layout.before_coefficients, self._scaled.data.cast("B"), self._one)
        self._evaluator.transform_to_ntt_inplace(self._passing)
        self._channel.load(plaintext, self._context, self._head, self._passed().data.cast("B"))

    def read(self, plaintext: Any, values: Words) -> None:
        """See `Plaintexts`."""
        transformed = coefficients_in(self._channel.content(plaintext))
        self._pass(self._layout.before_sum, transformed.data.cast("B"), self._one_transformed)
        self._evaluator.transform_from_ntt_inplace(self._passing)
        modulus, scale_bits = self._spec.parameters.modulus, self._spec.scale_bits
        found = self._passed().astype(np.int64)
        found -= modulus * (found > modulus // 2)
        found += 1 << (scale_bits - 1)
        found >>= scale_bits
        np.bitwise_and(found.view(np.uint64), np.uint64((1 << self._spec.bits) - 1), out=values)

    def _pass(self, head: bytes, first: memoryview, second: bytes) -> None:
        self._channel.load(self._passing, self._context, head, first, second)

    def _passed(self) -> Words:
        return residues_in(self._channel.content(self._passing), self._spec.block)
