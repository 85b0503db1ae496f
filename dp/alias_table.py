"""Draws from a table of a symmetric distribution, a few look-ups each: the alias method (Walker 1977; Vose 1991).

Knows probabilities and a generator's bits. Knows nothing of what they are probabilities of.

Exactness: the table is built in whole numbers, and a draw and its opposite are equally likely to the last bit. Each
probability is met to within 2^-127, but for the largest, which takes what the others lack; the rest of the distance to
the wanted distribution is that of the given numbers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Probabilities = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

_WORD = 64
# Of two words, one bit of which is the sign. The second is drawn only where the first does not decide.
_PLACES = 127
# What is 2^-190 of the largest weight, or less, has no place among so many.
_WEIGHT_BITS = 190


@dataclass(frozen=True, eq=False)
class AliasTable:
    """2^k columns of equal probability, each of which is divided between its own magnitude and another.

    Attributes:
        column_bits: k.
        own, rest: uint64 (2^k,): how many of a column's 2^(127 - k) places are its own, as quotient and remainder by
            2^64.
        other: int64 (2^k,): the magnitude that a column's other places stand for.
    """

    column_bits: int
    own: npt.NDArray[np.uint64]
    rest: npt.NDArray[np.uint64]
    other: Integers

    @classmethod
    def of(cls, magnitudes: Probabilities) -> AliasTable:
        """The table that draws ``i`` or ``-i`` with a probability in proportion to ``magnitudes[i]``."""
        bits = max(1, (len(magnitudes) - 1).bit_length())
        columns, height = 1 << bits, 1 << (_PLACES - bits)
        weights = [int(weight) for weight in np.ldexp(magnitudes / magnitudes.max(), _WEIGHT_BITS).tolist()]
        # Divided as whole numbers: of quotients in float64, the sum is off by more than one of many values weighs.
        total = sum(weights)
        places = [(weight << _PLACES) // total for weight in weights] + [0] * (columns - len(weights))
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
        own, rest = (
            np.array(part, np.uint64) for part in zip(*(divmod(own, 1 << _WORD) for own in places), strict=True)
        )
        return cls(bits, own, rest, np.array(other, np.int64))

    def draw(self, generator: np.random.Generator, size: int) -> Integers:
        """``size`` independent draws, int64."""
        words = _words(generator, size)
        column = (words & np.uint64((1 << self.column_bits) - 1)).view(np.int64)
        words >>= np.uint64(self.column_bits)
        negative = (words & np.uint64(1)).view(np.int64)
        words >>= np.uint64(1)
        # `take` is a third faster than an index.
        own = self.own.take(column)
        drawn = np.where(words < own, column, self.other.take(column))
        undecided = np.flatnonzero(words == own)
        if len(undecided):
            columns = column[undecided]
            within = _words(generator, len(undecided)) < self.rest[columns]
            drawn[undecided] = np.where(within, columns, self.other[columns])
        # -x is (x ^ -1) + 1: without a branch.
        np.negative(negative, out=negative)
        drawn ^= negative
        drawn -= negative
        return drawn


def _words(generator: np.random.Generator, size: int) -> npt.NDArray[np.uint64]:
    return generator.integers(0, (1 << _WORD) - 1, size, np.uint64, endpoint=True)
