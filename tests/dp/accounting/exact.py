"""Divergences of one-dimensional integer noise by summing over its values, in logarithms: what the formulas bound."""

from __future__ import annotations

import numpy as np
from scipy.special import ive, logsumexp


def skellam(variance, reach):
    """Log probabilities of -reach to reach, from ratios of Bessel functions: they do not underflow in the tails."""
    # A ratio far above is next to nothing; the recurrence runs down, where it is stable.
    ratios, ratio = np.empty(reach), 0.0
    for order in range(reach + 200, 0, -1):
        ratio = 1 / (2 * order / variance + ratio)
        if order <= reach:
            ratios[order - 1] = ratio
    above = np.log(ive(0, variance)) + np.cumsum(np.log(ratios))
    return np.concatenate([above[::-1], [np.log(ive(0, variance))], above])


def discrete_gaussian(variance, reach):
    """Log probabilities of -reach to reach."""
    exponents = -(np.arange(-reach, reach + 1) ** 2) / (2 * variance)
    return exponents - logsumexp(exponents)


def sum_of_discrete_gaussians(shares, share_variance, reach):
    """Log probabilities of -reach to reach; each share is cut off where a float64 is."""
    one = np.exp(discrete_gaussian(share_variance, reach))
    total = one
    for _ in range(shares - 1):
        total = np.convolve(total, one)[reach:-reach]
    with np.errstate(divide="ignore"):
        return np.log(total)


def shifted(logs, by):
    """Both distributions where both are known: the noise, and the noise moved up by ``by``."""
    return (logs[by:], logs[:-by]) if by else (logs, logs)


def mixed(base, other, rate):
    """The log of ``base``, but with probability ``rate`` ``other``."""
    return np.logaddexp(np.log1p(-rate) + base, np.log(rate) + other)


def divergence(first, second, order):
    """The Renyi divergence of ``first`` from ``second``, both as log probabilities."""
    known = np.isfinite(first) & np.isfinite(second)
    return logsumexp(order * first[known] + (1 - order) * second[known]) / (order - 1)
