"""What it costs a patient to be told from another, who would have been there instead: an exchange of one for the other.

Knows only how much epsilon the presence of one patient costs at whatever delta. Two data sets that differ in who one
patient is both differ by one patient from what they have in common. Let that cost (e, d). Then whatever is released has
under the one a probability of at most exp(e) p + d, with p its probability under what they have in common, and p is at
most exp(e) q + d, with q that under the other: the exchange costs (2 e, (1 + exp(e)) d). No mechanism has to be known.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

# Its exponential is still a float.
_LARGEST: Final = 600.0
_HALVINGS: Final = 40


def epsilon_of_exchange(epsilon_at: Callable[[float], float], delta: float) -> float:
    """An epsilon that an exchange costs no more than, at ``delta``; infinity if it would be above 1,200.

    Of a delta below 1e-62 also if it would be less.

    Args:
        epsilon_at: what the presence of one patient costs, for a delta.
    """

    def holds(epsilon: float) -> bool:
        part = delta / (1 + math.exp(epsilon))
        # Of so small a delta no float is left, for which nothing holds.
        return part > 0 and epsilon_at(part) <= epsilon

    if holds(0.0):
        return 0.0
    low, high = 0.0, 1.0
    while not holds(high):
        if high == _LARGEST:
            return math.inf
        low, high = high, min(2 * high, _LARGEST)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return 2 * high
