"""Conditional stochastic rounding to the integer grid, and how much it adds to what one patient can weigh.

Knows vectors of real numbers whose norm is bounded. Knows nothing of patients, gradients or noise.

Each coordinate is rounded up or down at random, so that its mean stays; a vector whose norm came out too large is
rounded again (Kairouz, Liu and Steinke 2021, "The Distributed Discrete Gaussian Mechanism", section 4.1). The limit
holds for whatever is given back: it is checked in integers.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import numpy.typing as npt

from secagg.errors import LocalProtocolError

Reals = npt.NDArray[np.float64] | npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]

# How likely a vector is to be rounded again, at most.
_AGAIN: Final = 2.0**-12
_MOST_TRIES: Final = 64
_DITHER_BITS: Final = 16


def rounded_norm(norm: float, dimension: int) -> float:
    """The L2 norm, in steps, that no vector of ``dimension`` numbers and at most ``norm`` steps has once rounded.

    The smaller of what no rounding can exceed and what one in 4,096 exceeds (Kairouz, Liu and Steinke 2021,
    Proposition 4.2, with a beta of 2^-12).
    """
    certain = (norm + math.sqrt(dimension)) ** 2
    likely = norm**2 + dimension / 4 + math.sqrt(2 * math.log(1 / _AGAIN)) * (norm + math.sqrt(dimension) / 2)
    return math.sqrt(min(certain, likely))


def rounded_sum_norm(norm: float, dimension: int) -> float:
    """The L1 norm that no integer vector of ``dimension`` numbers and L2 norm ``norm`` exceeds."""
    return min(math.sqrt(dimension) * norm, norm**2)


def round_rows(rows: Reals, norm: float, generator: np.random.Generator) -> Integers:
    """Every row rounded at random, its L2 norm at most `rounded_norm`.

    Args:
        rows: (m, d), in steps of the grid; each of L2 norm at most ``norm``.

    Returns:
        int64, shape (m, d).

    Raises:
        LocalProtocolError: ``rounding-failed``, if a row never comes out short enough: it was too long before.
    """
    limit = math.floor(rounded_norm(norm, rows.shape[1]) ** 2)
    rounded = _round(rows, generator)
    for _ in range(_MOST_TRIES):
        long = np.flatnonzero(np.einsum("ij,ij->i", rounded, rounded) > limit)
        if not len(long):
            return rounded
        rounded[long] = _round(rows[long], generator)
    raise LocalProtocolError("rounding-failed", f"A vector is longer than {norm:g} steps.")


def _round(rows: Reals, generator: np.random.Generator) -> Integers:
    """Up with a probability that is the fraction, to within 2^-17; down otherwise."""
    dither = generator.integers(0, 1 << _DITHER_BITS, rows.shape, np.uint16).astype(np.float64)
    dither += 0.5
    dither *= 2.0**-_DITHER_BITS
    dither += rows
    np.floor(dither, out=dither)
    return dither.astype(np.int64)
