"""Ring elements as coefficients of a plaintext polynomial: several to a coefficient, or several coefficients to one.

Knows integers and how wide they are. Knows nothing of ciphertexts or masks.

Plaintexts are only ever added, so a value may lie in a coefficient as it is: no slots, and no need for a prime plain
modulus. Under BFV a coefficient wraps modulo 2^T exactly as the masking ring Z_2^T does. Under CKKS nothing is masked,
and no sum wraps: read modulo 2^T, it is the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from secagg.encoding.ring import Ring, RingVector

Coefficients = npt.NDArray[np.uint64]

LIMB_BITS: Final = 32
# Elements that are computed at a time; a multiple of every number of elements that go into one coefficient.
_CHUNK: Final = 3 << 14


@dataclass(frozen=True)
class Packing:
    """Several elements in each coefficient: v = x_0 + 2^b x_1 + 2^2b x_2 modulo 2^T, T = k b, x_j as signed numbers.

    The sum of such v is the v of the sums, exactly, as long as every sum of elements is a signed b-bit number: what a
    negative x_j borrows from its neighbour is given back when it is taken off again.

    Attributes:
        ring: of the elements, b bits each.
        per_coefficient: k.
    """

    ring: Ring
    per_coefficient: int

    @property
    def packed_ring(self) -> Ring:
        """Z_2^T, that the coefficients are added in: what is masked under double lock."""
        return Ring(self.ring.bits * self.per_coefficient)

    @property
    def values_per_packed(self) -> int:
        """How many coefficients an element of `packed_ring` takes."""
        return 1

    @property
    def plain_bits(self) -> int:
        """T."""
        return self.ring.bits * self.per_coefficient

    def packed_count(self, length: int) -> int:
        """How many elements of `packed_ring` ``length`` elements take."""
        return -(-length // self.per_coefficient)

    def pack(self, elements: RingVector) -> RingVector:
        """The elements as elements of `packed_ring`, shape (packed_count,); zeros fill up the last."""
        packed = np.empty(self.packed_count(len(elements)), self.packed_ring.dtype)
        for start, part in self._parts(elements):
            packed[start : start + self.packed_count(len(part))] = self._pack(part)
        return packed

    def unpack(self, packed: RingVector, length: int) -> RingVector:
        """The first ``length`` elements of what `pack` made, or of a sum of such."""
        elements = np.empty((len(packed), self.per_coefficient), self.ring.dtype)
        for start in range(0, len(packed), _CHUNK):
            self._unpack(packed[start : start + _CHUNK], elements[start : start + _CHUNK])
        return elements.reshape(-1)[:length]

    def values(self, packed: RingVector) -> Coefficients:
        """Elements of `packed_ring` as coefficients in 0 .. 2^T - 1, uint64."""
        return packed.astype(np.uint64) & np.uint64((1 << self.plain_bits) - 1)

    def from_values(self, values: npt.NDArray[Any]) -> RingVector:
        """Sums of coefficients as elements of `packed_ring`."""
        return values.astype(self.packed_ring.dtype, copy=False)

    def _parts(self, elements: RingVector) -> Iterator[tuple[int, RingVector]]:
        for start in range(0, len(elements), _CHUNK):
            yield start // self.per_coefficient, elements[start : start + _CHUNK]

    def _unpack(self, packed: RingVector, elements: RingVector) -> None:
        width, half = packed.dtype.type(self.ring.bits), packed.dtype.type(1 << (self.ring.bits - 1))
        elements[:, 0] = packed
        for place in range(1, self.per_coefficient):
            # Rounding to the nearest gives back what a negative element has borrowed.
            packed = (packed + half) >> width
            elements[:, place] = packed

    def _pack(self, elements: RingVector) -> RingVector:
        signed = np.zeros((self.packed_count(len(elements)), self.per_coefficient), np.int64)
        signed.reshape(-1)[: len(elements)] = self.ring.to_signed(elements)
        packed = signed[:, -1]
        for place in range(self.per_coefficient - 2, -1, -1):
            packed = (packed << np.int64(self.ring.bits)) + signed[:, place]
        return self.packed_ring.from_signed(packed)


@dataclass(frozen=True)
class Splitting:
    """Two coefficients to each element, for rings that are wider than a coefficient: its lower and upper 32 bits.

    Every limb of n hospitals is below 2^32, their sum below 2^32 n: it does not wrap, and the sum of the elements
    modulo 2^b follows from it.
    """

    ring: Ring
    contributors: int

    @property
    def packed_ring(self) -> Ring:
        """The elements' own: it is they that are masked."""
        return self.ring

    @property
    def values_per_packed(self) -> int:
        """How many coefficients an element takes."""
        return 2

    @property
    def plain_bits(self) -> int:
        """T: so that the sum of n limbs does not wrap."""
        return LIMB_BITS + self.contributors.bit_length()

    def packed_count(self, length: int) -> int:
        """As many as elements."""
        return length

    def pack(self, elements: RingVector) -> RingVector:
        """A copy: elements are masked as they are."""
        return elements.copy()

    def unpack(self, packed: RingVector, length: int) -> RingVector:
        """The elements, reduced."""
        self.ring.reduce(packed)
        return packed[:length]

    def values(self, packed: RingVector) -> Coefficients:
        """The limbs, lower first, uint64 (2 len,)."""
        whole = packed.astype("<u8") & np.uint64((1 << self.ring.bits) - 1)
        return whole.view("<u4").astype(np.uint64)

    def from_values(self, values: npt.NDArray[Any]) -> RingVector:
        """Elements from sums of limbs; what overflows 64 bits is nothing modulo 2^b."""
        elements: RingVector = (values[0::2] + (values[1::2] << np.uint64(LIMB_BITS))).astype(self.ring.dtype)
        return elements


def arrangement(ring: Ring, contributors: int, widest: int) -> Packing | Splitting:
    """How elements of ``ring`` lie in coefficients of at most ``widest`` bits: as many to each as fit."""
    if ring.bits <= widest:
        return Packing(ring, widest // ring.bits)
    return Splitting(ring, contributors)
