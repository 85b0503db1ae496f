"""How a hospital's feature moments are written into ring elements.

First the number of its rows, as one element. Then of each feature the sum of its values, and that of their squares, in
digits. Both are wide, so that they give a variance exactly, also where it is far below the square of the mean.
"""

from __future__ import annotations

from secagg.encoding.digits import Digits

VALUE = Digits(count=3, finest=48)
SQUARE = Digits(count=6, finest=96)


def moments_length(features: int) -> int:
    """How many ring elements the moments of so many features take."""
    return 1 + features * (VALUE.count + SQUARE.count)
