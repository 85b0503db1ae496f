"""What Poisson sampling leaves of the Renyi divergence of symmetric noise, at whole orders.

Knows divergences at whole orders. Knows nothing of the noise that they belong to, but that it is symmetric:
``docs/accounting.md`` shows why no more is needed.

For an order alpha, the excess is E[X^alpha] - 1, where X is the ratio of the probabilities with the patient and
without, and the expectation is without: a divergence is log(1 + excess) / (alpha - 1). It is kept as its logarithm.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from dp.accounting.orders import RdpCurve


def sampled_excess(release: RdpCurve, rate: float, wholes: Sequence[int]) -> RdpCurve:
    """The log of the excess at ``wholes`` of a release on a Poisson sample, float64; -inf where nothing is lost.

    Args:
        release: float64 (top - 1,), the divergence of the release without sampling at the orders 2 to top.
        rate: the probability with which a patient is in the sample.
        wholes: orders from 2 to top.
    """
    levels = np.arange(2, len(release) + 2)
    grown = _log_expm1((levels - 1) * release)
    if rate == 1:
        return np.asarray(grown[np.array(wholes) - 2], np.float64)
    # Zhu and Wang 2019, theorem 6: E[X^a] = sum over l of C(a, l) (1 - q)^(a - l) q^l exp((l - 1) D(l)). All of it but
    # the exponentials sums to 1, which is taken out: what is left of a small cost would be lost beside it.
    log_factorials = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1.0, len(release) + 2)))])
    return np.array([_log_sum(_log_weights(order, rate, log_factorials) + grown[: order - 1]) for order in wholes])


def _log_weights(order: int, rate: float, log_factorials: RdpCurve) -> RdpCurve:
    """The logarithms of the binomial probabilities of 2 to ``order`` out of ``order`` at ``rate``."""
    level = np.arange(2, order + 1)
    chosen = log_factorials[order] - log_factorials[level] - log_factorials[order - level]
    return np.asarray(chosen + (order - level) * math.log1p(-rate) + level * math.log(rate), np.float64)


def _log_expm1(value: RdpCurve) -> RdpCurve:
    """log(exp(value) - 1) for values of 0 or more; -inf at 0."""
    with np.errstate(divide="ignore"):
        return np.asarray(value + np.log(-np.expm1(-value)), np.float64)


def _log_sum(logs: RdpCurve) -> float:
    """The log of the sum of the numbers with these logarithms."""
    largest = float(np.max(logs))
    if largest == -math.inf:
        return largest
    return largest + math.log(float(np.exp(logs - largest).sum()))
