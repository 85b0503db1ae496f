"""Poisson sampling: who is in a step's batch. Knows probabilities and indices, nothing of records."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

# A float that is drawn is a whole multiple of it, below 1.
_STEP: Final = 2.0**-53


def poisson_sample(generator: np.random.Generator, population: int, rate: float) -> npt.NDArray[np.int64]:
    """The sampled indices, ascending, int64; each of ``population`` is in with probability ``rate``, independently.

    The batch may be empty, and must be used even so: amplification by sampling holds for exactly this sampler
    (Mironov, Talwar and Zhang 2019). A rate that is no multiple of 2^-53 is rounded down to one: nobody is drawn more
    often than is accounted for.

    Raises:
        ValueError: if the rate is no probability.
    """
    if not 0 <= rate <= 1:
        raise ValueError(f"a sampling rate of {rate:g} is no probability")
    return np.flatnonzero(generator.random(population) + _STEP <= rate).astype(np.int64)
