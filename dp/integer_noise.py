"""Integer noise: Skellam and discrete Gaussian. Floating-point noise leaks through its low bits (Mironov 2012).

Knows distributions. Knows nothing of what noise is added to, or how much of it there must be.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import numpy.typing as npt

from dp.events import Noise
from secagg.errors import InputError

Integers = npt.NDArray[np.int64]

# Drawn at a time, so that besides the result there is never a whole vector more.
_CHUNK: Final = 1 << 16
# Beyond it numpy's Poisson sampler refuses, and a 64-bit ring has no room.
_LARGEST_VARIANCE: Final = 2.0**60


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
    draw = _skellam if noise == "skellam" else _discrete_gaussian
    for start in range(0, size if variance else 0, _CHUNK):
        piece = drawn[start : start + _CHUNK]
        piece[:] = draw(generator, len(piece), variance)
    return drawn


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
