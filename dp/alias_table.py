"""Draws from a table of a symmetric distribution, two look-ups each: the alias method (Walker 1977; Vose 1991).

Knows probabilities and a generator's bits. Knows nothing of what they are probabilities of.

Exactness: the table is built in whole numbers, and a draw and its opposite are equally likely to the last bit. Each
probability is met to within 2^-63; the rest of the distance to the wanted distribution is that of the given numbers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Probabilities = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

_WORD = 64
# One bit of a word is the sign.
_PLACES = 63


@dataclass(frozen=True, eq=False)
class AliasTable:
    """2^k columns of equal probability, each of which is divided between its own magnitude and another.

    Attributes:
        column_bits: k.
        own: uint64 (2^k,): of the 2^(63 - k) places of a column, how many are its own.
        other: int64 (2^k,): whose the others are.
    """

    column_bits: int
    own: npt.NDArray[np.uint64]
    other: Integers

    @classmethod
    def of(cls, magnitudes: Probabilities) -> AliasTable:
        """The table that draws ``i`` or ``-i`` with a probability of ``magnitudes[i]``; they add up to about 1."""
        bits = max(1, (len(magnitudes) - 1).bit_length())
        columns, height = 1 << bits, 1 << (_PLACES - bits)
        places = [int(weight * 2.0**_PLACES) for weight in magnitudes.tolist()] + [0] * (columns - len(magnitudes))
        # What was cut off goes where it is least noticed.
        places[int(np.argmax(magnitudes))] += (1 << _PLACES) - sum(places)
        other = list(range(columns))
        low = [column for column in range(columns) if places[column] < height]
        high = [column for column in range(columns) if places[column] > height]
        while low:
            poor, rich = low.pop(), high[-1]
            other[poor] = rich
            places[rich] -= height - places[poor]
            if places[rich] <= height:
                high.pop()
                if places[rich] < height:
                    low.append(rich)
        return cls(bits, np.array(places, np.uint64), np.array(other, np.int64))

    def draw(self, generator: np.random.Generator, size: int) -> Integers:
        """``size`` independent draws, int64."""
        words = generator.integers(0, (1 << _WORD) - 1, size, np.uint64, endpoint=True)
        column = (words & np.uint64((1 << self.column_bits) - 1)).view(np.int64)
        words >>= np.uint64(self.column_bits)
        negative = (words & np.uint64(1)).view(np.int64)
        words >>= np.uint64(1)
        drawn = np.where(words < self.own[column], column, self.other[column])
        # -x is ~x + 1, and ~x is x ^ -1: without a branch.
        drawn ^= -negative
        drawn += negative
        return drawn
