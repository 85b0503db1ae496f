"""The orders at which Renyi divergences are added up: the same for every mechanism, so that all compose."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

Orders = tuple[float, ...]
RdpCurve = npt.NDArray[np.float64]

ORDERS: Final[Orders] = (
    *(1 + x / 10 for x in range(1, 100)),
    *(float(whole) for whole in range(11, 64)),
    *(2.0**k for k in range(6, 13)),
)
# Fast to compute, and never far from the best one.
ROUGH_ORDERS: Final[Orders] = (2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0, 48.0, 63.0, 128.0)
