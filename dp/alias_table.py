"""Draws from a table of probabilities, two look-ups each: the alias method (Walker 1977; Vose 1991).

Knows probabilities and a generator's bits. Knows nothing of what they are probabilities of.

Exactness: every probability is met to within 2^-64, so that the distribution drawn from differs from the table's by at
most 2^-65 times the table's length, in total variation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Probabilities = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

_WORD = 64


@dataclass(frozen=True, eq=False)
class AliasTable:
    """2^k columns of equal probability, each of which is divided between itself and another.

    Attributes:
        column_bits: k.
        own: uint64 (2^k,): of the 2^(64 - k) places of a column, how many are its own.
        other: int64 (2^k,): whose the others are.
    """

    column_bits: int
    own: npt.NDArray[np.uint64]
    other: Integers

    @classmethod
    def of(cls, probabilities: Probabilities) -> AliasTable:
        """The table that draws ``i`` with a probability of ``probabilities[i]``; they add up to 1."""
        bits = max(1, (len(probabilities) - 1).bit_length())
        columns = 1 << bits
        share = np.zeros(columns)
        share[: len(probabilities)] = probabilities * columns
        other = np.arange(columns)
        low, high = [int(i) for i in np.flatnonzero(share < 1)], [int(i) for i in np.flatnonzero(share >= 1)]
        weights = share.tolist()
        while low and high:
            poor, rich = low.pop(), high[-1]
            other[poor] = rich
            weights[rich] -= 1.0 - weights[poor]
            if weights[rich] < 1.0:
                low.append(high.pop())
        for full in (*low, *high):
            # What is left over of rounding: a column that is its own entirely.
            weights[full] = 1.0
        places = float(1 << (_WORD - bits))
        return cls(bits, np.array([min(weight * places, places) for weight in weights]).astype(np.uint64), other)

    def draw(self, generator: np.random.Generator, size: int) -> Integers:
        """``size`` independent draws, int64."""
        words = generator.integers(0, (1 << _WORD) - 1, size, np.uint64, endpoint=True)
        column = (words & np.uint64((1 << self.column_bits) - 1)).astype(np.int64)
        words >>= np.uint64(self.column_bits)
        return np.where(words < self.own[column], column, self.other[column])
