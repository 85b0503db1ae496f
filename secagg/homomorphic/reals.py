"""Ring elements as real numbers for CKKS, and sums of those rounded back to the grid of the encoding.

Knows integers, floats and how far a sum may be off. Knows nothing of ciphertexts.

CKKS gives sums with an error. Elements are whole numbers, and their sum is one: rounded to the nearest, it is exact
while the error is below 1/2, and what is left of the noise, which would tell of the secret key, is gone (Li and
Micciancio 2021).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from secagg.encoding.ring import Ring, RingVector
from secagg.homomorphic.parameters import FAILURE_BITS, ParameterSet

Reals = npt.NDArray[np.float64]

_WIDEST: Final = 32
_LIMB_BITS: Final = 16
# Of noise (10.5) and of rounding to whole coefficients (at most 1/4), a contributor.
_VARIANCE: Final = 10.75
# Of what a sum of coefficients may reach, a fourth is left free.
_SPARE_BITS: Final = 2


@dataclass(frozen=True)
class RealNumbers:
    """Elements of up to 32 bits as signed numbers, one real each; wider ones in limbs of 16 bits, lowest first."""

    ring: Ring
    contributors: int

    @property
    def per_element(self) -> int:
        """How many reals an element takes."""
        return 1 if self.ring.bits <= _WIDEST else -(-self.ring.bits // _LIMB_BITS)

    @property
    def largest_sum(self) -> int:
        """What the magnitude of a sum of reals is below."""
        return 1 << (self.ring.bits - 1) if self.per_element == 1 else self.contributors << _LIMB_BITS

    def count(self, length: int) -> int:
        """How many reals ``length`` elements take."""
        return length * self.per_element

    def reals(self, elements: RingVector) -> Reals:
        """The elements as whole numbers, float64 (count,): every one of them exactly."""
        if self.per_element == 1:
            return self.ring.to_signed(elements).astype(np.float64)
        whole = elements.astype("<u8") & np.uint64((1 << self.ring.bits) - 1)
        return whole.view("<u2").reshape(-1, 4)[:, : self.per_element].astype(np.float64).reshape(-1)

    def elements(self, sums: Reals) -> RingVector:
        """The elements that sums of reals are nearest to."""
        rounded = np.rint(sums).astype(np.int64)
        if self.per_element == 1:
            return self.ring.from_signed(rounded)
        limbs = rounded.astype(np.uint64).reshape(-1, self.per_element)
        shifts = np.arange(self.per_element, dtype=np.uint64) * np.uint64(_LIMB_BITS)
        result: RingVector = (limbs << shifts).sum(axis=1, dtype=np.uint64).astype(self.ring.dtype)
        self.ring.reduce(result)
        return result


def scale_bits(parameters: ParameterSet, numbers: RealNumbers) -> int:
    """log2 of the factor that reals are scaled by: as large as q allows for the largest sum.

    A slot holds two reals as one complex number, so a coefficient of the sum is at most sqrt(2) times the largest.
    """
    return parameters.modulus_bits - 1 - _SPARE_BITS - numbers.largest_sum.bit_length()


def error_bound(parameters: ParameterSet, numbers: RealNumbers, count: int) -> float:
    """By how much a sum of ``count`` reals is off at most, in steps of the grid, but with probability 2^-40.

    A real of a slot is a combination of N coefficients with factors of at most 1 whose squares add up to N/2 at most;
    the noise of each is subgaussian. What float64 adds in the transform is far below: it is counted with 2^-40 of the
    largest sum.
    """
    exponent = math.log(2 * count) + FAILURE_BITS * math.log(2)
    noise = math.sqrt(2 * parameters.degree * numbers.contributors * _VARIANCE * exponent)
    return noise / 2.0 ** scale_bits(parameters, numbers) + numbers.largest_sum * 2.0**-FAILURE_BITS
