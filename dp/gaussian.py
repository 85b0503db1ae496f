"""Gaussian noise from a cryptographic generator, hardened against attacks on its floating point.

Knows how noise is drawn. Knows nothing of what it is added to, or of accounting.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from secagg.errors import InputError

# The sum of four draws, halved, has the wanted variance, and its low bits cannot be traced back to one draw
# (Holohan and Braghin 2021, section 5; the same as Opacus' secure mode).
_DRAWS: Final = 4


def gaussian(generator: np.random.Generator, size: int, standard_deviation: float) -> npt.NDArray[np.float64]:
    """``size`` independent Gaussians of mean 0, float64."""
    total = np.zeros(size)
    for _ in range(_DRAWS):
        total += generator.standard_normal(size)
    return total * (standard_deviation / _DRAWS**0.5)


def gaussian_like(reference: Tensor, generator: np.random.Generator, standard_deviation: float) -> Tensor:
    """Gaussian noise of ``reference``'s shape, type and device; drawn on the CPU, whatever the device."""
    noise = gaussian(generator, reference.numel(), standard_deviation)
    return torch.from_numpy(noise).to(device=reference.device, dtype=reference.dtype).reshape(reference.shape)


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
        raise InputError("no-noise", f"Counts cannot be released with a noise multiplier of {noise_multiplier:g}.")
    return counts + np.rint(gaussian(generator, counts.size, noise_multiplier)).astype(np.int64).reshape(counts.shape)
