"""What travels inside the masked vector of the statistics round: the rows, and of each feature two sums over them.

Knows how they are encoded. The sum over all hospitals says of their rows together what it says, and nothing of which
hospital has which: it is the same numbers however the rows are divided. All is one sum: of two, over different
hospitals, the difference would show what one of them sent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

import numpy as np

from secagg.charter import Charter
from secagg.encoding import Ring
from secagg.encoding.digits import MOST_NUMBERS
from secagg.encoding.moments import SQUARE, VALUE
from secagg.encoding.ring import RingVector
from secagg.errors import InputError, RemoteProtocolError
from secagg.masking.session import STATISTICS_BITS
from training.records import Records
from training.standardisation import Moments, table_of
from training.vector_layout import no_weight

_RING: Final = Ring(STATISTICS_BITS)
_A_FEATURE: Final = VALUE.count + SQUARE.count
# What a grid leaves of squares that are smaller is too little for a spread.
_SMALLEST: Final = 2.0**-32
# How far a hospital that rounds as it should can be off with a value, and with a square.
_VALUE_ERROR: Final = Fraction(1, 1 << VALUE.finest + 1)
_SQUARE_ERROR: Final = Fraction(1, 1 << SQUARE.finest + 1)
_OTHER_UNIT: Final = (
    "Use one unit for this column at all hospitals, a larger or smaller one if need be; or standardise by bounds."
)


@dataclass(frozen=True)
class MomentVector:
    """Encodes a hospital's feature moments; decodes the sum of many.

    A vector is uint64 (`moments_length(features)`,), in the order of `secagg.encoding.moments`.

    Attributes:
        features: their names, in order.
    """

    charter: Charter
    features: Sequence[str]

    def encode(self, records: Records) -> RingVector:
        """A hospital's vector. Each of its rows counts once.

        Raises:
            InputError: ``not-a-table``; ``too-many-rows``; ``out-of-range`` or ``too-small``, naming the feature.
        """
        table = table_of(records)
        most = MOST_NUMBERS // len(self.charter.members)
        if len(table) > most:
            raise InputError(
                "too-many-rows",
                f"{records.source} has {len(table):,} rows; each of {len(self.charter.members)} hospitals may add "
                f"{most:,} to a sum of statistics.",
                culprit=records.source,
                remedy="Standardise by bounds.",
            )
        for name, largest in zip(self.features, np.abs(table).max(axis=0, initial=0.0).tolist(), strict=True):
            _require_room(name, largest)
        sums = np.concatenate([VALUE.add_up(table), SQUARE.add_up(np.square(table))])
        return _RING.from_signed(np.concatenate([np.array([len(table)]), sums.T.reshape(-1)]))

    def decode(self, total: RingVector) -> Moments:
        """The moments of all hospitals' rows together.

        They are rounded once, so that they are the same bits everywhere.

        Raises:
            RemoteProtocolError: ``no-weight``: no hospital encodes a sum without rows, or with more than there may be.
                ``no-moments``: no rows have such a mean or mean square.
        """
        rows, *sums = _RING.to_signed(total).tolist()
        if not 0 < rows <= MOST_NUMBERS:
            raise no_weight()
        columns = [sums[start : start + _A_FEATURE] for start in range(0, len(sums), _A_FEATURE)]
        means = [VALUE.total(digits[: VALUE.count]) / rows for digits in columns]
        squares = [SQUARE.total(digits[VALUE.count :]) / rows for digits in columns]
        variances = [_variance(mean, square) for mean, square in zip(means, squares, strict=True)]
        return Moments(np.array(means, np.float64), np.array(variances, np.float64))


def _variance(mean: Fraction, square: Fraction) -> Fraction:
    """Of rows with this mean and mean square, if there can be such: a false one would leave inputs as far as it likes.

    Raises:
        RemoteProtocolError: ``no-moments``.
    """
    variance = square - mean * mean
    rounding = 2 * abs(mean) * _VALUE_ERROR + _SQUARE_ERROR
    if abs(mean) >= VALUE.limit or square >= SQUARE.limit or variance < -rounding:
        raise RemoteProtocolError(
            "no-moments", "No rows have the sum of feature statistics: one hospital has sent false numbers."
        )
    return max(Fraction(0), variance)


def _require_room(name: str, largest: float) -> None:
    """Refuse a column whose largest magnitude is too large or too small for the grid."""
    if largest >= VALUE.limit:
        raise _unusable("out-of-range", name, f"The values of {name} are larger than there is room for")
    if 0 < largest < _SMALLEST:
        raise _unusable("too-small", name, f"All values of {name} are so small that their spread is lost")


def _unusable(reason: str, name: str, what: str) -> InputError:
    return InputError(reason, f"{what} in a sum of statistics.", culprit=name, remedy=_OTHER_UNIT)
