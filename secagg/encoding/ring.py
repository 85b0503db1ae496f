"""The masking ring Z_2^b: which numpy type holds its elements, and how an element is read as a signed number.

Elements are computed in the next wider unsigned type and wrap there; only the low b bits mean anything, and they are
cut out when a vector is packed or decoded. That is exact because 2^b divides 2^32 and 2^64.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

RingVector = npt.NDArray[np.uint32] | npt.NDArray[np.uint64]


@dataclass(frozen=True)
class Ring:
    """Z_2^b for b = ``bits`` from 16 to 64."""

    bits: int

    def __post_init__(self) -> None:
        if not 16 <= self.bits <= 64:
            raise ValueError(f"a ring of {self.bits} bits is outside 16 to 64")

    @property
    def dtype(self) -> np.dtype[np.unsignedinteger]:
        """Little-endian uint32 for up to 32 bits, little-endian uint64 above."""
        return np.dtype("<u4") if self.bits <= 32 else np.dtype("<u8")

    @property
    def largest(self) -> int:
        """The largest signed number, 2^(b-1) - 1."""
        return (1 << (self.bits - 1)) - 1

    def zeros(self, length: int) -> RingVector:
        """A vector of zeros, shape (length,)."""
        return np.zeros(length, self.dtype)

    def reduce(self, elements: RingVector) -> None:
        """Take the bits above b away, in place."""
        np.bitwise_and(elements, elements.dtype.type((1 << self.bits) - 1), out=elements)

    def from_signed(self, values: npt.NDArray[np.int64]) -> RingVector:
        """Signed integers as ring elements (two's complement)."""
        return values.astype(self.dtype)

    def to_signed(self, elements: RingVector) -> npt.NDArray[np.int64]:
        """Ring elements as the signed integers -2^(b-1) .. 2^(b-1)-1, int64."""
        # The sign bit goes to the top and comes down again, in the elements' own width.
        if elements.itemsize == 4:
            unused = 32 - self.bits
            return ((elements << np.uint32(unused)).view(np.int32) >> np.int32(unused)).astype(np.int64)
        unused = 64 - self.bits
        return (elements << np.uint64(unused)).view(np.int64) >> np.int64(unused)
