"""How a hospital's feature moments are written into ring elements.

First the number of its rows, as one element. Then of each feature the sum of its values, and that of their squares, in
digits. Both are wide, so that they give a variance exactly, also where it is far below the square of the mean.
"""

from __future__ import annotations

from secagg.encoding.digits import Digits

# A value down to 2^-40 is exact as float32, and so is its square.
VALUE = Digits(count=4, finest=80)
SQUARE = Digits(count=7, finest=128)


def moments_length(features: int) -> int:
    """How many ring elements the moments of so many features take."""
    return 1 + features * (VALUE.count + SQUARE.count)
