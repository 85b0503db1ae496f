"""Gaussian noise from a cryptographic generator, hardened against attacks on its floating point.

Knows how noise is drawn and added to sums. Knows nothing of what they are sums of, or of accounting.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from secagg.errors import InputError

if TYPE_CHECKING:
    # Takes seconds to load, which who only draws does not wait for.
    from torch import Tensor

# The sum of four draws, halved, has the wanted variance, and its low bits cannot be traced back to one draw
# (Holohan and Braghin 2021, section 5; the same as Opacus' secure mode).
_DRAWS: Final = 4
# So fine that rounding a sum of a million numbers widens it by less than a millionth of the noise, and so coarse that
# each step holds millions of the values that a draw can take.
_GRID_BITS: Final = 30
# Drawn and added at a time: what a cache holds.
_CHUNK: Final = 1 << 15


def gaussian(generator: np.random.Generator, size: int, standard_deviation: float) -> npt.NDArray[np.float64]:
    """``size`` independent Gaussians of mean 0, float64."""
    total = np.zeros(size)
    for _ in range(_DRAWS):
        total += generator.standard_normal(size)
    return total * (standard_deviation / _DRAWS**0.5)


@dataclass(frozen=True, kw_only=True)
class GaussianMechanism:
    """Gaussian noise on a sum of vectors (Dwork and Roth 2014, appendix A), both in steps of one grid.

    Guarantee: what is released is a function of ``k + rint(n / step)``, where ``k`` is the sum in whole steps and ``n``
    the noise. As ``k`` is whole, that is ``rint((k step + n) / step)``, almost surely: a function of the rounded sum
    with Gaussian noise. Were noise rounded as floats are, finely where it is small, and added where they are coarse,
    some sums could never be released, and others would be told from them (Mironov 2012).

    Attributes:
        noise_multiplier: standard deviation of the noise over what one vector moves the rounded sum by.
        clip_norm: the most that one vector weighs, L2, before the sum is rounded.
        coordinates: d, of all that is released together.

    Raises:
        InputError: ``no-noise`` on construction, if there would be none.
    """

    noise_multiplier: float
    clip_norm: float
    coordinates: int

    def __post_init__(self) -> None:
        if not self.noise_multiplier * self.clip_norm > 0 or self.step == 0:
            raise InputError(
                "no-noise",
                f"A sum of vectors of length {self.clip_norm:g} cannot be released with a noise multiplier of "
                f"{self.noise_multiplier:g}.",
                remedy="Give a noise multiplier and a clip norm above 0.",
            )

    @property
    def step(self) -> float:
        """The grid's step: a power of two, so that dividing by it is exact, and from public numbers only."""
        _, exponent = math.frexp(self.noise_multiplier * self.clip_norm)
        return math.ldexp(1.0, exponent - 1 - _GRID_BITS)

    @property
    def sensitivity(self) -> float:
        """The most that one vector moves the rounded sum by, L2: the sums with and without it are half a step off."""
        return self.clip_norm + math.sqrt(self.coordinates) * self.step

    @property
    def deviation(self) -> float:
        """Standard deviation of the noise on each coordinate."""
        return self.noise_multiplier * self.sensitivity

    def release(self, total: Tensor, generator: np.random.Generator) -> Tensor:
        """``total`` with noise; of its shape, type and device. Noise is drawn and added on the CPU, in float64.

        Args:
            total: the sum, or a part of its coordinates, finite.
            generator: `dp.randomness.secure_generator`.
        """
        flat = total.detach().cpu().reshape(-1)
        released = flat.new_empty(len(flat))
        for start in range(0, len(flat), _CHUNK):
            piece = flat[start : start + _CHUNK].double().numpy()
            released[start : start + _CHUNK] = flat.new_tensor(self._released(piece, generator))
        return released.to(total.device).reshape(total.shape)

    def _released(self, total: npt.NDArray[np.float64], generator: np.random.Generator) -> npt.NDArray[np.float64]:
        noise = gaussian(generator, len(total), self.deviation)
        noise /= self.step
        np.rint(noise, out=noise)
        noise += np.rint(total / self.step)
        # Beyond 2^53 steps the addition rounds, as the type of the result does: both look at the sum of both only.
        noise *= self.step
        return noise


def noisy_counts(
    counts: npt.NDArray[np.int64], noise_multiplier: float, generator: np.random.Generator
) -> npt.NDArray[np.int64]:
    """Counts with Gaussian noise, rounded to integers; int64, same shape, possibly negative.

    Guarantee: where every patient adds one to exactly one count, the L2 sensitivity is 1, so that ``noise_multiplier``
    is the standard deviation. Rounding is post-processing.

    Raises:
        InputError: ``no-noise``, if there would be none.
    """
    if not noise_multiplier > 0:
        raise InputError(
            "no-noise",
            f"Counts cannot be released with a noise multiplier of {noise_multiplier:g}.",
            remedy="Give a metric_noise_multiplier above 0, or release no counts.",
        )
    return counts + np.rint(gaussian(generator, counts.size, noise_multiplier)).astype(np.int64).reshape(counts.shape)
