"""What all rounds have in common, ours and the baselines': who is in them."""

from __future__ import annotations

from typing import Final

import numpy as np

from benchmarks.sweep.case import Case

_SEED: Final = 7


def survivors_of(case: Case) -> list[int]:
    """The hospitals that do not drop, ascending: the same in every round and under every scheme."""
    numbers = np.arange(1, case.hospitals + 1)
    dropped = np.random.default_rng(_SEED).choice(numbers, case.dropped, replace=False)
    return [int(number) for number in numbers if number not in dropped]
