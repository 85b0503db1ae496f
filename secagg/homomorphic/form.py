"""How the vectors of one ring and length are encrypted: how elements lie in coefficients, and those in ciphertexts.

Knows sizes and integers. Knows no key and no library.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from secagg.encoding.ring import Ring
from secagg.homomorphic.coefficients import Packing, Splitting, arrangement
from secagg.homomorphic.parameters import (
    Encryption,
    ParameterSet,
    approximate_plain_bits,
    exact_plain_bits,
    parameter_set,
)
from secagg.homomorphic.spec import CipherSpec


@dataclass(frozen=True)
class EncryptedForm:
    """What a vector becomes.

    Attributes:
        length: ring elements of a vector.
        contributors: how many hospitals there are.
        codec: ring elements to the coefficients that are encrypted, and back.
    """

    length: int
    contributors: int
    spec: CipherSpec
    codec: Packing | Splitting

    @property
    def value_count(self) -> int:
        """How many values a vector has."""
        return self.packed_count * self.codec.values_per_packed

    @property
    def packed_count(self) -> int:
        """How many elements of the packed ring a vector has."""
        return self.codec.packed_count(self.length)

    @property
    def blocks(self) -> int:
        """How many ciphertexts a vector has."""
        return self.spec.blocks(self.value_count)

    @property
    def packed_type(self) -> np.dtype[np.unsignedinteger]:
        """Of an element of the packed ring."""
        return self.codec.packed_ring.dtype

    def elements_of(self, piece: tuple[int, int]) -> slice:
        """Which packed elements are in a piece: (first block, blocks)."""
        step = self.spec.block // self.codec.values_per_packed
        return slice(piece[0] * step, min(sum(piece) * step, self.packed_count))

    def elements_in(self, piece: tuple[int, int]) -> int:
        """How many they are."""
        found = self.elements_of(piece)
        return int(found.stop - found.start)

    @property
    def fresh_size(self) -> int:
        """Bytes of a hospital's vector."""
        return self.spec.fresh_size(self.value_count)

    @property
    def sum_size(self) -> int:
        """Bytes of a sum."""
        return self.spec.sum_size(self.value_count)


@lru_cache(maxsize=64)
def exact_form(parameters: ParameterSet, ring: Ring, length: int, contributors: int) -> EncryptedForm:
    """Under BFV: as many elements to a coefficient as the noise of so many contributors leaves bits for. The plain
    modulus is as wide as what lies there, and no wider."""
    widest = exact_plain_bits(parameters, contributors, _most_coefficients(parameters, length))
    chosen = arrangement(ring, contributors, widest)
    return EncryptedForm(length, contributors, CipherSpec(parameters, Encryption.BFV, chosen.plain_bits), chosen)


@lru_cache(maxsize=64)
def approximate_form(parameters: ParameterSet, ring: Ring, length: int, contributors: int) -> EncryptedForm:
    """Under CKKS: as many elements to a coefficient as the noise of so many contributors leaves bits for. The scale is
    the largest that leaves room for what lies there."""
    widest = approximate_plain_bits(parameters, contributors, _most_coefficients(parameters, length))
    chosen = arrangement(ring, contributors, widest)
    return EncryptedForm(length, contributors, CipherSpec(parameters, Encryption.CKKS, chosen.plain_bits), chosen)


def _most_coefficients(parameters: ParameterSet, length: int) -> int:
    # At most two an element, and the zeros that fill up the last block.
    return 2 * length + parameters.degree


def form_of(scheme: str, parameters: str, ring: Ring, length: int, contributors: int) -> EncryptedForm:
    """Under a charter's scheme and parameter set.

    Raises:
        ValueError: if the scheme encrypts nothing.
    """
    match scheme:
        case "bfv" | "double-lock":
            return exact_form(parameter_set(parameters), ring, length, contributors)
        case "ckks":
            return approximate_form(parameter_set(parameters), ring, length, contributors)
        case _:
            raise ValueError(f"the scheme {scheme} does not encrypt")
