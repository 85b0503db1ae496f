"""How the vectors of one ring and length are encrypted: how elements lie in values, and values in ciphertexts.

Knows sizes and integers. Knows no key and no library.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from secagg.encoding.ring import Ring, RingVector
from secagg.homomorphic.coefficients import arrangement
from secagg.homomorphic.parameters import Encryption, ParameterSet, exact_plain_bits, parameter_set
from secagg.homomorphic.reals import RealNumbers, scale_bits
from secagg.homomorphic.spec import CipherSpec


class Codec(Protocol):
    """Elements of ``ring`` to the values that are encrypted, and back.

    Elements are packed first, then masked where they are, then turned into values: coefficients under BFV, real
    numbers under CKKS. Sums of values become packed elements of the sum, and those its elements.
    """

    @property
    def ring(self) -> Ring:
        """Of the elements."""

    @property
    def packed_ring(self) -> Ring:
        """Of the packed elements, which are what is masked."""

    @property
    def values_per_packed(self) -> int:
        """How many values a packed element takes."""

    def packed_count(self, length: int) -> int:
        """How many packed elements ``length`` elements take."""

    def pack(self, elements: RingVector) -> RingVector:
        """Elements as packed ones, shape (packed_count,)."""

    def unpack(self, packed: RingVector, length: int) -> RingVector:
        """The first ``length`` elements of what `pack` made, or of a sum of such."""

    def values(self, packed: RingVector) -> npt.NDArray[Any]:
        """Packed elements as values, shape (len(packed) * values_per_packed,)."""

    def from_values(self, values: npt.NDArray[Any]) -> RingVector:
        """Sums of values as packed elements."""


@dataclass(frozen=True)
class EncryptedForm:
    """What a vector becomes.

    Attributes:
        length: ring elements of a vector.
        contributors: how many hospitals there are.
        codec: ring elements to the values that are encrypted, and back.
    """

    length: int
    contributors: int
    spec: CipherSpec
    codec: Codec

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
    """Under BFV, with the widest plain modulus that the noise of so many contributors leaves."""
    # At most two coefficients an element, and the zeros that fill up the last block.
    coefficients = 2 * length + parameters.degree
    chosen = arrangement(ring, contributors, exact_plain_bits(parameters, contributors, coefficients))
    return EncryptedForm(length, contributors, CipherSpec(parameters, Encryption.BFV, chosen.plain_bits), chosen)


@lru_cache(maxsize=64)
def approximate_form(parameters: ParameterSet, ring: Ring, length: int, contributors: int) -> EncryptedForm:
    """Under CKKS, with the largest scale that the sum of so many contributors leaves."""
    numbers = RealNumbers(ring, contributors)
    bits = scale_bits(parameters, numbers)
    return EncryptedForm(length, contributors, CipherSpec(parameters, Encryption.CKKS, bits), numbers)


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
