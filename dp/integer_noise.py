"""Integer noise: Skellam and discrete Gaussian. Floating-point noise leaks through its low bits (Mironov 2012).

Knows distributions. Knows nothing of what noise is added to, or how much of it there must be.

Drawn from tables of the exact probabilities, and not by the rejection of other variables: in double precision the usual
sampler of Poisson variables is off by more than privacy allows from a variance of about 2^40 on, and by a multiple of
eight from 2^57 on.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

from dp.alias_table import AliasTable
from dp.events import Noise
from secagg.errors import InputError

Integers = npt.NDArray[np.int64]
Reals = npt.NDArray[np.float64]

# A table for more is larger than a cache, and takes more than a second to make.
LARGEST_VARIANCE: Final = 2.0**28
# Drawn at a time, so that besides the result there is never a whole vector more.
_CHUNK: Final = 1 << 16
_LARGE: Final = 1e200


def integer_noise(generator: np.random.Generator, noise: Noise, size: int, variance: float) -> Integers:
    """``size`` independent draws of mean 0 and about this variance, int64; zeros where it is 0.

    Guarantee: each value has its exact probability but for a factor of 1 ± 2^-45, values aside whose probabilities add
    up to 2^-69. What that is of epsilon and delta: `docs/accounting.md`, "Assumptions".

    Args:
        generator: `dp.randomness.secure_generator`.
        variance: in squared steps of the grid. A discrete Gaussian has this parameter; its variance is a little less.

    Raises:
        InputError: ``bad-variance``.
    """
    if not 0 <= variance <= LARGEST_VARIANCE:
        raise InputError(
            "bad-variance",
            f"Noise of variance {variance:g} cannot be drawn.",
            culprit="noise multiplier",
            remedy=f"A share of noise has a variance of {LARGEST_VARIANCE:g} squared steps at most.",
        )
    if variance == 0:
        return np.zeros(size, np.int64)
    table = _tabulated(noise, variance)
    if size <= _CHUNK:
        return table.draw(generator, size)
    drawn = np.empty(size, np.int64)
    for start in range(0, size, _CHUNK):
        piece = drawn[start : start + _CHUNK]
        piece[:] = table.draw(generator, len(piece))
    return drawn


@lru_cache(maxsize=32)
def _tabulated(noise: Noise, variance: float) -> AliasTable:
    # So far that what lies beyond is less than a table can tell: by `dp.shares.tail`'s bound.
    reach = math.ceil(10 * math.sqrt(variance)) + 60
    weights = _skellam_weights(variance, reach) if noise == "skellam" else _gaussian_weights(variance, reach)
    # Of both signs; there is one zero.
    weights[1:] *= 2
    return AliasTable.of(weights)


def _gaussian_weights(variance: float, reach: int) -> Reals:
    """exp(-k^2 / 2 variance) for k = 0 .. reach: Canonne, Kamath and Steinke 2020, definition 1."""
    return np.exp(-(np.arange(reach + 1, dtype=np.float64) ** 2) / (2 * variance))


def _skellam_weights(variance: float, reach: int) -> Reals:
    """Proportional to P(k) for k = 0 .. reach (Skellam 1946): the modified Bessel function I_k of the variance.

    By its recurrence downwards (Miller; Abramowitz and Stegun 1964, 9.12 and 9.6.26), which adds positive numbers only
    and so loses nothing.
    """
    values = np.zeros(reach + 1)
    above, value = 0.0, 1e-280
    # From a third beyond, the recurrence has forgotten where it began.
    for order in range(reach + reach // 3, 0, -1):
        if order <= reach:
            values[order] = value
        above, value = value, above + 2 * order / variance * value
        if value > _LARGE:
            above, value = above / _LARGE, value / _LARGE
            values /= _LARGE
    values[0] = value
    return values
