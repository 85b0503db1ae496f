"""Ring elements as real numbers for CKKS, and sums of those rounded back to the grid of the encoding.

Knows integers, floats and how far a sum may be off. Knows nothing of ciphertexts.

CKKS gives sums with an error. Elements are whole numbers, and their sum is one: rounded to the nearest, it is exact
while the error is below 1/2, and what is left of the noise, which would tell of the secret key, is gone (Li and
Micciancio 2021).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from secagg.encoding.ring import Ring, RingVector
from secagg.homomorphic.parameters import FAILURE_BITS, NOISE_VARIANCE, ParameterSet

Reals = npt.NDArray[np.float64]

_WIDEST: Final = 32
_LIMB_BITS: Final = 16
_LIMBS: Final = 4
# Of what a sum of coefficients may reach, a fourth is left free.
_SPARE_BITS: Final = 2


@dataclass(frozen=True)
class RealNumbers:
    """Elements of up to 32 bits as signed numbers, one real each; wider ones in four limbs of 16 bits, lowest first."""

    ring: Ring
    contributors: int

    @property
    def packed_ring(self) -> Ring:
        """The elements' own."""
        return self.ring

    @property
    def values_per_packed(self) -> int:
        """How many reals an element takes."""
        return 1 if self.ring.bits <= _WIDEST else _LIMBS

    @property
    def largest_sum(self) -> int:
        """A bound: the magnitude of a sum of reals is below it."""
        return 1 << (self.ring.bits - 1) if self.values_per_packed == 1 else self.contributors << _LIMB_BITS

    def packed_count(self, length: int) -> int:
        """As many as elements."""
        return length

    def pack(self, elements: RingVector) -> RingVector:
        """The elements themselves."""
        return elements

    def unpack(self, packed: RingVector, length: int) -> RingVector:
        """The elements themselves."""
        return packed[:length]

    def values(self, packed: RingVector) -> Reals:
        """The elements as whole numbers, float64: every one of them exactly."""
        if self.values_per_packed == 1:
            return self.ring.to_signed(packed).astype(np.float64)
        whole = packed.astype("<u8") & np.uint64((1 << self.ring.bits) - 1)
        return whole.view("<u2").astype(np.float64)

    def from_values(self, values: npt.NDArray[Any]) -> RingVector:
        """The elements that sums of reals are nearest to."""
        rounded = np.rint(values).astype(np.int64)
        if self.values_per_packed == 1:
            return self.ring.from_signed(rounded)
        limbs = rounded.astype(np.uint64).reshape(-1, _LIMBS)
        shifts = np.arange(_LIMBS, dtype=np.uint64) * np.uint64(_LIMB_BITS)
        result: RingVector = (limbs << shifts).sum(axis=1, dtype=np.uint64).astype(self.ring.dtype)
        self.ring.reduce(result)
        return result


def scale_bits(parameters: ParameterSet, numbers: RealNumbers) -> int:
    """log2 of the factor that reals are scaled by: as large as q allows for the largest sum.

    A slot holds two reals as one complex number, so a coefficient of the sum is at most sqrt(2) times the largest.
    """
    return parameters.modulus_bits - 1 - _SPARE_BITS - numbers.largest_sum.bit_length()


def error_bound(parameters: ParameterSet, numbers: RealNumbers, count: int) -> float:
    """The largest error of a sum of ``count`` reals, in steps of the grid, except with probability 2^-40.

    A real of a slot is a combination of N coefficients with factors whose squares add up to N/2. The noise of each is
    subgaussian. What each contributor rounds to whole coefficients, at most 1/2 each, follows no law, and counts in
    full, by the inequality of Cauchy and Schwarz. What float64 adds in the transform is far below: it is counted with
    2^-40 of the largest sum.
    """
    degree, contributors = parameters.degree, numbers.contributors
    exponent = math.log(2 * count) + FAILURE_BITS * math.log(2)
    noise = math.sqrt(degree * contributors * NOISE_VARIANCE * exponent)
    rounding = contributors * degree / (2 * math.sqrt(2))
    return (noise + rounding) / 2.0 ** scale_bits(parameters, numbers) + numbers.largest_sum * 2.0**-FAILURE_BITS
