"""Integer noise: Skellam and discrete Gaussian. Floating-point noise leaks through its low bits (Mironov 2012).

Knows distributions. Knows nothing of what noise is added to, or how much of it there must be.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Final

import numpy as np
import numpy.typing as npt

from dp.alias_table import AliasTable
from dp.events import Noise
from secagg.errors import InputError

Integers = npt.NDArray[np.int64]
Reals = npt.NDArray[np.float64]
Sampler = Callable[[np.random.Generator, int], Integers]

# Drawn at a time, so that besides the result there is never a whole vector more.
_CHUNK: Final = 1 << 16
# Beyond it numpy's Poisson sampler refuses, and a 64-bit ring has no room.
_LARGEST_VARIANCE: Final = 2.0**60
_LARGEST_TABULATED = 2.0**24
_LARGE: Final = 1e200


def integer_noise(generator: np.random.Generator, noise: Noise, size: int, variance: float) -> Integers:
    """``size`` independent draws of mean 0 and about this variance, int64; zeros where it is 0.

    Args:
        generator: `dp.randomness.secure_generator`.
        variance: in squared steps of the grid. A discrete Gaussian has this parameter; its variance is a little less.

    Raises:
        InputError: ``bad-variance``.
    """
    if not 0 <= variance <= _LARGEST_VARIANCE:
        raise InputError("bad-variance", f"Noise of variance {variance:g} cannot be drawn.")
    drawn = np.zeros(size, np.int64)
    if variance == 0:
        return drawn
    draw = _sampler(noise, variance)
    for start in range(0, size, _CHUNK):
        piece = drawn[start : start + _CHUNK]
        piece[:] = draw(generator, len(piece))
    return drawn


def _sampler(noise: Noise, variance: float) -> Sampler:
    """By table where that is small enough for the cache: three times as fast as the others."""
    if variance <= _LARGEST_TABULATED:
        table, middle = _tabulated(noise, variance)
        return lambda generator, size: table.draw(generator, size) - middle
    return partial(_skellam if noise == "skellam" else _discrete_gaussian, variance=variance)


@lru_cache(maxsize=32)
def _tabulated(noise: Noise, variance: float) -> tuple[AliasTable, int]:
    """The table, and where zero is in it."""
    # So far that what lies beyond is less than a table can tell, 2^-64 in all: by `dp.shares.tail`'s bound.
    reach = math.ceil(10 * math.sqrt(variance)) + 60
    right = _skellam_weights(variance, reach) if noise == "skellam" else _gaussian_weights(variance, reach)
    weights = np.concatenate([right[:0:-1], right])
    return AliasTable.of(weights / math.fsum(weights)), reach


def _gaussian_weights(variance: float, reach: int) -> Reals:
    """exp(-k^2 / 2 variance) for k = 0 .. reach."""
    return np.exp(-(np.arange(reach + 1, dtype=np.float64) ** 2) / (2 * variance))


def _skellam_weights(variance: float, reach: int) -> Reals:
    """Proportional to P(k) for k = 0 .. reach: the modified Bessel function I_k of the variance.

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


def _skellam(generator: np.random.Generator, size: int, variance: float) -> Integers:
    """The difference of two Poisson variables (Skellam 1946): its variance is the sum of theirs."""
    drawn = generator.poisson(variance / 2, size)
    drawn -= generator.poisson(variance / 2, size)
    return drawn


def _discrete_gaussian(generator: np.random.Generator, size: int, variance: float) -> Integers:
    """By rejection from a discrete Laplace (Canonne, Kamath and Steinke 2020, Algorithm 3)."""
    scale = math.isqrt(math.floor(variance)) + 1
    kept: list[Integers] = []
    missing = size
    while missing > 0:
        # About three of four are kept.
        tried = _discrete_laplace(generator, missing + missing // 2 + 16, scale)
        deviation = np.abs(tried) - variance / scale
        kept.append(tried[generator.random(len(tried)) < np.exp(-(deviation**2) / (2 * variance))][:missing])
        missing -= len(kept[-1])
    return np.concatenate(kept)


def _discrete_laplace(generator: np.random.Generator, size: int, scale: int) -> Integers:
    """P(x) proportional to exp(-|x| / scale): the difference of two geometric variables."""
    failure = -math.expm1(-1 / scale)
    drawn = generator.geometric(failure, size)
    drawn -= generator.geometric(failure, size)
    return drawn
