"""Images as they were stored, before a model's scaling.

This module knows the shape that all image readers share and the one scaling that all hospitals use. It knows no file
format.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, eq=False)
class Images:
    """Square images with their labels.

    Args:
        pixels: uint8, shape (n, channels, size, size).
        labels: int64, shape (n,).
        patients: int64, shape (n,): numbered 0..p-1; each image its own patient where the file does not say.
        source: where they came from.
        marks: uint8, shape (n, 1, 32): hashes of pictures before they were resized; None where they were not. Unkeyed.
    """

    pixels: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    patients: npt.NDArray[np.int64]
    source: str
    marks: npt.NDArray[np.uint8] | None = None


def scale_pixels(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """uint8 0..255 to float32 -1..1: (x / 255 - 0.5) / 0.5, of the same shape."""
    scaled = pixels.astype(np.float32)
    scaled /= np.float32(255.0)
    scaled -= np.float32(0.5)
    scaled /= np.float32(0.5)
    return scaled
