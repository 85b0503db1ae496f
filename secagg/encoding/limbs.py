"""Wide fixed point: numbers of very different sizes, each as several elements of the 64-bit ring, whose sum is exact.

A number v is the integer V = round(v * 2^f), and V is written in limbs of 44 bits: V = a + b*2^44 + c*2^88 + ..., with
0 <= a, b < 2^44 and the last limb signed. A sum of vectors adds limb to limb; nothing is carried. The sums of up to
2^19 limbs are signed 64-bit numbers, so that none wraps, and V's sum is put together from them again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

LIMB_BITS = 44


@dataclass(frozen=True)
class WideNumber:
    """How numbers of one kind are written: in ``limbs`` elements, in steps of 2^-``fraction_bits``."""

    limbs: int
    fraction_bits: int

    @property
    def limit(self) -> int:
        """What a number's magnitude must be below: 2^(44 * limbs - 1 - fraction_bits)."""
        return 1 << (LIMB_BITS * self.limbs - 1 - self.fraction_bits)

    def split(self, number: Fraction) -> list[int]:
        """The limbs of a number, the lowest first; rounded to the nearest step, ties to even.

        Raises:
            OverflowError: if the number is not below `limit`.
        """
        steps = round(number * (1 << self.fraction_bits))
        if abs(steps) >= self.limit << self.fraction_bits:
            raise OverflowError(f"a number is outside of {self.limbs} limbs")
        lower = [(steps >> shift) & ((1 << LIMB_BITS) - 1) for shift in self._shifts[:-1]]
        return [*lower, steps >> self._shifts[-1]]

    def join(self, limbs: Sequence[int]) -> Fraction:
        """The number whose limbs, or sums of limbs, these are."""
        steps = sum(limb << shift for limb, shift in zip(limbs, self._shifts, strict=True))
        return Fraction(steps, 1 << self.fraction_bits)

    @property
    def _shifts(self) -> range:
        return range(0, LIMB_BITS * self.limbs, LIMB_BITS)
