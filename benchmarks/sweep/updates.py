"""The updates that are summed: the same every time, and the exact mean of their float sum.

Knows seeds and shapes. Knows nothing of schemes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

Reals = npt.NDArray[np.float64]

# What a hospital draws; longer updates repeat it, so that drawing is never what takes the time.
_PERIOD: Final = 1 << 20
_SEED: Final = 20_260


@dataclass(frozen=True)
class Updates:
    """One update a hospital: normal numbers of fixed seeds, scaled to an L2 norm of ``norm`` or a little less."""

    parameters: int
    norm: float

    def of(self, hospital: int) -> Reals:
        """That hospital's, float64, shape (d,)."""
        return np.resize(self._drawn(hospital), self.parameters)

    def error(self, mean: npt.NDArray[np.floating], hospitals: Iterable[int]) -> float:
        """How far ``mean``, shape (d,), is from that of these hospitals' exact sum: root mean squares, relative."""
        drawn = [self._drawn(hospital) for hospital in hospitals]
        exact = sum(drawn[1:], drawn[0].copy()) / len(drawn)
        squares = 0.0
        for start in range(0, self.parameters, len(exact)):
            part = mean[start : start + len(exact)]
            squares += float(np.square(part - exact[: len(part)]).sum())
        return float(np.sqrt(squares / self.parameters) / np.sqrt(np.square(exact).mean()))

    def _drawn(self, hospital: int) -> Reals:
        numbers = np.random.default_rng((_SEED, hospital)).standard_normal(min(self.parameters, _PERIOD))
        # Of its own norm and not of the whole update's, so that it is drawn once and repeats.
        whole = float(np.linalg.norm(numbers)) * math.ceil(self.parameters / len(numbers)) ** 0.5
        drawn: Reals = numbers * (self.norm / whole)
        return drawn
