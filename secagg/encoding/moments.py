"""How a hospital's feature moments are written into ring elements.

First its weight, a whole number of patients, as one element. Then of each feature the weighted mean and the weighted
mean square, in limbs. Both are wide, so that their sum gives a variance exactly, also where it is far below the square
of the mean.
"""

from __future__ import annotations

from secagg.encoding.limbs import WideNumber

MEAN = WideNumber(limbs=3, fraction_bits=64)
MEAN_SQUARE = WideNumber(limbs=5, fraction_bits=104)


def moments_length(features: int) -> int:
    """How many ring elements the moments of so many features take."""
    return 1 + features * (MEAN.limbs + MEAN_SQUARE.limbs)
