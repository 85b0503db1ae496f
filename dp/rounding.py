"""Conditional stochastic rounding to the integer grid, and how much it adds to what one patient can weigh.

Knows vectors of real numbers whose norm is bounded. Knows nothing of patients, gradients or noise.

Each coordinate is rounded up or down at random, so that its mean stays; a vector whose norm came out too large is
rounded again (Kairouz, Liu and Steinke 2021, "The Distributed Discrete Gaussian Mechanism", section 4.1). The limit
holds for whatever is given back: it is checked after rounding.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import numpy.typing as npt

from secagg.errors import LocalProtocolError

Reals = npt.NDArray[np.float64] | npt.NDArray[np.float32]
# Exact up to 2^53, and unlike int64 cannot wrap around where they are squared.
WholeNumbers = npt.NDArray[np.float64]

# How likely a vector is to be rounded again, at most.
_AGAIN: Final = 2.0**-12
_MOST_TRIES: Final = 64
_FLOAT32_NORM: Final = 2.0**12


def rounded_norm(norm: float, dimension: int) -> float:
    """The L2 norm, in steps, that `round_rows` holds a vector of ``dimension`` numbers and L2 norm ``norm`` to.

    The smaller of what no rounding can exceed and what one in 4,096 exceeds (Kairouz, Liu and Steinke 2021,
    Proposition 4.2, with a beta of 2^-12).
    """
    certain = (norm + math.sqrt(dimension)) ** 2
    likely = norm**2 + dimension / 4 + math.sqrt(2 * math.log(1 / _AGAIN)) * (norm + math.sqrt(dimension) / 2)
    return math.sqrt(min(certain, likely))


def l1_norm_bound(norm: float, dimension: int) -> float:
    """The L1 norm that no integer vector of ``dimension`` numbers and L2 norm ``norm`` exceeds."""
    return min(math.sqrt(dimension) * norm, norm**2)


def round_rows(rows: Reals, norm: float, generator: np.random.Generator) -> WholeNumbers:
    """Every row rounded at random, its L2 norm at most `rounded_norm`.

    Args:
        rows: (m, d), in steps of the grid; each of L2 norm at most ``norm``. One that is not finite counts as zeros.

    Returns:
        float64, shape (m, d), whole numbers.

    Raises:
        LocalProtocolError: ``rounding-failed``, if a row never comes out short enough: it was too long before.
    """
    rows = _finite(rows)
    limit = rounded_norm(norm, rows.shape[1])
    rounded = _round(rows, norm, generator)
    for _ in range(_MOST_TRIES):
        # Written so that a norm that is no number is too long.
        long = np.flatnonzero(~(_norms(rounded) <= limit))
        if not len(long):
            return rounded
        rounded[long] = _round(rows[long], norm, generator)
    raise LocalProtocolError("rounding-failed", f"A vector is longer than {norm:g} steps.")


def _finite(rows: Reals) -> Reals:
    """The same with zeros for every row that holds a number that is none, or is infinite."""
    if np.isfinite(rows).all():
        return rows
    return np.where(np.isfinite(rows.sum(axis=1, keepdims=True)), rows, 0)


def _norms(rows: WholeNumbers) -> npt.NDArray[np.float64]:
    """L2 norms."""
    squares: npt.NDArray[np.float64] = np.einsum("ij,ij->i", rows, rows)
    return np.sqrt(squares)


def _round(rows: Reals, norm: float, generator: np.random.Generator) -> WholeNumbers:
    """Up with a probability that is the fraction, to within 2^-12; down otherwise."""
    # In float32, which halves the time, where its 24 bits leave the fraction 12.
    real = np.float32 if norm < _FLOAT32_NORM else np.float64
    words = generator.integers(0, (1 << 64) - 1, (rows.size + 3) // 4, np.uint64, endpoint=True)
    dither = words.view(np.uint16)[: rows.size].reshape(rows.shape)
    shifted = np.multiply(dither, real(2.0**-16), dtype=real)
    shifted += rows.astype(real, copy=False)
    np.floor(shifted, out=shifted)
    return shifted.astype(np.float64, copy=False)
