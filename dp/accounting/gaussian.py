"""The Renyi divergence of one step of Gaussian noise on a Poisson sample, by Opacus.

Sources: Mironov 2017 (arXiv 1702.07476) without sampling; Mironov, Talwar and Zhang 2019 (arXiv 1908.10530), section
3.3, with it.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from dp.accounting.orders import Orders, RdpCurve
from dp.events import GaussianEvent

# Beyond these the formulas leave floating point. Less noise than the one counts as none, more than the other as that.
LEAST_NOISE: Final = 1e-6
LARGEST_NOISE: Final = 10_000.0


def gaussian_step(event: GaussianEvent, orders: Orders) -> RdpCurve:
    """The divergence of one step of ``event`` at each of ``orders``, float64; infinite where there is no noise."""
    # Written so that noise that is no number counts as none.
    if not event.noise_multiplier >= LEAST_NOISE:
        return np.full(len(orders), math.inf)
    # Not at the top: Opacus brings torch, which takes seconds, and to verify a ledger needs neither.
    from opacus.accountants.analysis import rdp

    noise = min(event.noise_multiplier, LARGEST_NOISE)
    found = rdp.compute_rdp(q=event.sampling_rate, noise_multiplier=noise, steps=1, orders=orders)
    return np.asarray(found, dtype=np.float64)
