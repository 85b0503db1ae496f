"""What Poisson sampling leaves of the Renyi divergence of symmetric noise, and divergences between whole orders.

Knows divergences at whole orders. Knows nothing of the noise that they belong to, but that it is symmetric:
``docs/accounting.md`` shows why no more is needed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from dp.accounting.orders import Orders, RdpCurve


def whole_orders(orders: Orders) -> tuple[int, ...]:
    """The whole orders above 1 next to ``orders``, rising."""
    return tuple(sorted({whole for order in orders for whole in (math.floor(order), math.ceil(order)) if whole > 1}))


def at_orders(orders: Orders, wholes: Sequence[int], divergences: RdpCurve) -> RdpCurve:
    """Upper bounds at ``orders`` from those at ``wholes``, float64.

    (alpha - 1) times the divergence is convex in alpha (van Erven and Harremoes 2014, corollary 2) and 0 at 1, so that
    it lies below the straight line between two orders.
    """
    places = np.array([1, *wholes], np.float64)
    scaled = np.interp(orders, places, (places - 1) * np.array([0.0, *divergences]))
    return np.asarray(scaled / (np.array(orders) - 1), np.float64)


def sampled(release: RdpCurve, rate: float, wholes: Sequence[int]) -> RdpCurve:
    """The divergence at ``wholes`` of a release on a Poisson sample, float64.

    Args:
        release: float64 (top - 1,), of the release without sampling at the orders 2 to top.
        rate: the probability with which a patient is in the sample.
    """
    if rate == 1:
        return np.asarray(release[np.array(wholes) - 2], np.float64)
    # Zhu and Wang 2019, theorem 6: sum over l of C(a, l) (1 - q)^(a - l) q^l exp((l - 1) D(l)). All of it but the
    # exponentials sums to 1, which is taken out: what is left of a small cost would be lost beside it.
    levels = np.arange(2, len(release) + 2)
    grown = _log_expm1((levels - 1) * release)
    log_factorials = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1.0, len(release) + 2)))])
    found = [_log1p_sum(_log_weights(order, rate, log_factorials) + grown[: order - 1]) for order in wholes]
    return np.asarray(np.array(found) / (np.array(wholes) - 1), np.float64)


def _log_weights(order: int, rate: float, log_factorials: RdpCurve) -> RdpCurve:
    """The logarithms of the binomial probabilities of 2 to ``order`` out of ``order`` at ``rate``."""
    level = np.arange(2, order + 1)
    chosen = log_factorials[order] - log_factorials[level] - log_factorials[order - level]
    return np.asarray(chosen + (order - level) * math.log1p(-rate) + level * math.log(rate), np.float64)


def _log_expm1(value: RdpCurve) -> RdpCurve:
    """log(exp(value) - 1) for values of 0 or more; -inf at 0."""
    with np.errstate(divide="ignore"):
        return np.asarray(value + np.log(-np.expm1(-value)), np.float64)


def _log1p_sum(logs: RdpCurve) -> float:
    """log(1 + the sum of the numbers with these logarithms)."""
    largest = float(np.max(logs))
    if largest == -math.inf:
        return 0.0
    total = largest + math.log(float(np.exp(logs - largest).sum()))
    return float(np.logaddexp(0.0, total))
