"""Exact sums of numbers of very different sizes, each as several elements of the 64-bit ring.

A number is a whole number of fine steps, written in digits of 32 bits. What is added up is the first digit of all, the
second of all, and so on: no digit's sum wraps, and nothing is carried.

What the elements of several hospitals add up to depends on their numbers together, and not on who had which. Digits of
a hospital's own sum would not do: what they carry differs with how the numbers are divided. Nor would its own mean: it
is rounded, and of a sum of such the last digits tell which counts they were made of.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

import numpy as np
import numpy.typing as npt

DIGIT_BITS: Final = 32
MOST_NUMBERS: Final = 1 << 31
"""How many numbers all hospitals together may add up: the sum of so many digits is a signed 64-bit number."""


@dataclass(frozen=True)
class Digits:
    """How numbers of one kind are added up: in ``count`` digits each, the first of steps of 2^-``finest``."""

    count: int
    finest: int

    @property
    def limit(self) -> float:
        """What a number's magnitude must be below: 2^(32 * count - finest)."""
        return float(np.ldexp(1.0, DIGIT_BITS * self.count - self.finest))

    def add_up(self, numbers: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
        """The sums of each column's digits, the finest first: int64 (``count``, columns).

        Each number is rounded to the nearest step, ties to even; a negative one has negative digits.

        Args:
            numbers: float64 (rows, columns), below `limit`, at most `MOST_NUMBERS` rows.
        """
        sums = np.zeros((self.count, numbers.shape[1]), np.int64)
        signs, rest = np.sign(numbers), np.rint(np.ldexp(np.abs(numbers), self.finest))
        # Exact in float64: no step makes digits of which there were none before.
        for place in reversed(range(self.count)):
            unit = 2.0 ** (DIGIT_BITS * place)
            digits = np.floor(rest / unit)
            rest -= digits * unit
            sums[place] = (signs * digits).astype(np.int64).sum(axis=0)
        return sums

    def total(self, sums: Sequence[int]) -> Fraction:
        """What the numbers add up to, from the sums of their digits."""
        steps = sum(digits << (DIGIT_BITS * place) for place, digits in enumerate(sums))
        return steps * Fraction(2) ** -self.finest
