"""The Renyi divergence of one release with integer noise, and of one step of it on a Poisson sample.

Two neighbouring sums differ by an integer vector of L1 norm at most ``l1`` and L2 norm at most ``l2``; independent
symmetric noise is added to every coordinate. At whole orders above 1; between them the curve is interpolated.
"""

from __future__ import annotations

import math
from typing import Final

import msgspec
import numpy as np

from dp.accounting.fractional import at_orders, whole_orders
from dp.accounting.gaussian import LEAST_NOISE
from dp.accounting.orders import Orders, RdpCurve
from dp.accounting.sampling import sampled_excess
from dp.events import IntegerEvent

# Below it a sum of discrete Gaussians may be far from one.
_LEAST_SHARE_DEVIATION: Final = 0.5
# Beyond it squares leave floating point: who is moved so far has no noise, and more than its square counts as that.
_LARGEST_SHIFT: Final = 1e75
# So many terms of the sum are added up; what is left is bounded by the last.
_MOST_TERMS: Final = 4096


def integer_step(event: IntegerEvent, orders: Orders) -> RdpCurve:
    """The divergence of one step of ``event`` at each of ``orders``, float64; infinite where there is no noise."""
    numbers = (event.variance, event.l1, event.l2)
    too_little = not math.sqrt(event.variance) > LEAST_NOISE * event.l2
    if not all(map(math.isfinite, numbers)) or too_little or event.l2 > _LARGEST_SHIFT:
        return np.full(len(orders), math.inf)
    counted = msgspec.structs.replace(event, variance=min(event.variance, _LARGEST_SHIFT**2))
    wholes = whole_orders(orders)
    release = released(counted, np.arange(2.0, wholes[-1] + 1))
    return at_orders(orders, event.sampling_rate, wholes, sampled_excess(release, event.sampling_rate, wholes))


def released(event: IntegerEvent, alpha: RdpCurve) -> RdpCurve:
    """The divergence of one release without sampling, at whole orders ``alpha`` above 1, float64."""
    if event.noise == "skellam":
        return _skellam(event, alpha)
    return _discrete_gaussians(event, alpha)


def _skellam(event: IntegerEvent, alpha: RdpCurve) -> RdpCurve:
    """Agarwal, Kairouz and Liu 2021 (arXiv 2110.04995), theorem 3.5; a sum of Skellam shares is Skellam noise."""
    mu, squared = event.variance, event.l2**2
    near = ((2 * alpha - 1) * squared + 6 * event.l1) / (4 * mu**2)
    return alpha * squared / (2 * mu) + np.minimum(near, 3 * event.l1 / (2 * mu))


def _discrete_gaussians(event: IntegerEvent, alpha: RdpCurve) -> RdpCurve:
    """Kairouz, Liu and Steinke 2021 (arXiv 2102.06387), proposition 14, its first term a little larger.

    ``docs/accounting.md`` derives what is computed here from the distance of the sum to one discrete Gaussian.
    """
    # Whoever is told all shares but one sees one discrete Gaussian: Canonne, Kamath and Steinke 2020, proposition 5.
    alone = alpha * event.l2**2 * event.shares / (2 * event.variance)
    deviation = math.sqrt(event.variance / event.shares)
    if event.shares == 1 or deviation < _LEAST_SHARE_DEVIATION:
        return alone
    tau = distance_to_one(event.shares, deviation)
    scaled = event.l2 / math.sqrt(event.variance)
    added = alpha * scaled**2 / 2 + (2 * alpha - 1) / (2 * alpha - 2) * tau * event.dimension
    widened = alpha * (scaled + tau * math.sqrt(event.dimension)) ** 2 / 2
    return np.minimum(alone, np.minimum(added, widened))


def distance_to_one(shares: int, deviation: float) -> float:
    """tau: twice the most by which the log of a coordinate's probability differs from that of one discrete Gaussian.

    Kairouz, Liu and Steinke 2021, theorem 1: 10 times the sum over k from 1 to n - 1 of exp(-2 pi^2 s^2 k / (k + 1)).

    Args:
        shares: n, how many discrete Gaussians of the same deviation are summed.
        deviation: s, of each, in steps of the grid; at least 0.5.
    """
    k = np.arange(1, min(shares, _MOST_TERMS))
    terms = np.exp(-2 * math.pi**2 * deviation**2 * k / (k + 1))
    rest = max(0, shares - _MOST_TERMS) * math.exp(-2 * math.pi**2 * deviation**2 * _MOST_TERMS / (_MOST_TERMS + 1))
    return 10 * (float(terms.sum()) + rest)
