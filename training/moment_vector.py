"""What travels inside the masked vector of the statistics round: the weight, and weighted moments of each feature.

Knows how they are encoded. All is one sum: of two, over different hospitals, the difference would show what one of
them sent. A variance is the difference of two sums that may agree in many digits, so they are carried as wide
integers, and subtracted exactly before anything is rounded.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from secagg.charter import Charter
from secagg.encoding import Ring
from secagg.encoding.moments import MEAN, MEAN_SQUARE
from secagg.encoding.ring import RingVector
from secagg.errors import InputError
from secagg.masking.session import STATISTICS_BITS
from training.standardisation import Moments
from training.vector_layout import no_weight

_RING = Ring(STATISTICS_BITS)
# The rounding of a mean square is then below 2^-33 of it.
_FEWEST_STEPS = 1 << 32
_OTHER_UNIT = (
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

    def encode(self, moments: Moments, patients: int) -> RingVector:
        """A hospital's vector. It counts as so many patients, but as no more than the charter's ``max_weight``.

        Raises:
            InputError: ``not-finite``, ``out-of-range`` or ``too-small``, naming the feature.
        """
        weight = min(patients, self.charter.encoding.max_weight)
        limbs = [weight]
        for name, mean, square in self._columns(moments):
            if 0 < weight * square * (1 << MEAN_SQUARE.fraction_bits) < _FEWEST_STEPS:
                raise _unusable("too-small", name, f"All values of {name} are so small that their spread is lost")
            try:
                limbs += MEAN.split(weight * mean) + MEAN_SQUARE.split(weight * square)
            except OverflowError as error:
                raise _unusable(
                    "out-of-range", name, f"The values of {name} are larger than there is room for"
                ) from error
        return _RING.from_signed(np.array(limbs, np.int64))

    def _columns(self, moments: Moments) -> Iterator[tuple[str, Fraction, Fraction]]:
        """Of each feature its name, mean and mean square."""
        for name, mean, variance in zip(self.features, moments.mean.tolist(), moments.variance.tolist(), strict=True):
            if not (np.isfinite(mean) and np.isfinite(variance)):
                raise InputError(
                    "not-finite",
                    f"The column {name} holds NaN or infinity.",
                    culprit=name,
                    remedy="Correct it in the table, or leave the column out.",
                )
            exact = Fraction(mean)
            yield name, exact, Fraction(variance) + exact * exact

    def decode(self, total: RingVector) -> Moments:
        """The moments of all hospitals' records together, each hospital counting by its weight.

        They are rounded once, so that they are the same bits everywhere.

        Raises:
            RemoteProtocolError: ``no-weight``: no hospital encodes a sum without weight.
        """
        signed = _RING.to_signed(total)
        weight, columns = int(signed[0]), signed[1:].reshape(len(self.features), -1)
        if weight <= 0:
            raise no_weight()
        means = [MEAN.join(limbs) / weight for limbs in columns[:, : MEAN.limbs].tolist()]
        squares = [MEAN_SQUARE.join(limbs) / weight for limbs in columns[:, MEAN.limbs :].tolist()]
        # Rounding, or a hospital that lies, may leave less than nothing.
        variances = [max(Fraction(0), square - mean * mean) for mean, square in zip(means, squares, strict=True)]
        return Moments(np.array(means, np.float64), np.array(variances, np.float64))


def _unusable(reason: str, name: str, what: str) -> InputError:
    return InputError(reason, f"{what} in a sum of statistics.", culprit=name, remedy=_OTHER_UNIT)
