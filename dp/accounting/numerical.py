"""Epsilon of Gaussian events by numerical composition: PRV by Opacus, PLD by dp-accounting.

Sources: Gopi, Lee and Wutschitz 2021 (arXiv 2106.02848); Doroshenko et al. 2022 (arXiv 2207.04380). Both are upper
bounds, their numerical error included, and are given only where they are fast and reliable.
"""

from __future__ import annotations

import math
import warnings
from functools import lru_cache
from typing import Any, Final

import numpy as np

from dp.accounting.gaussian import LARGEST_NOISE
from dp.events import GaussianEvent

Events = tuple[GaussianEvent, ...]

# Numerical composition is not reliable where one step alone is nearly free of noise.
_LEAST_NOISE: Final = 0.4
# Beyond these it takes minutes, and nobody needs it.
_LARGEST_EPSILON: Final = 50.0
_MOST_STEPS: Final = 100_000
# What is added for the error, as a share of epsilon and at the ends. The smaller, the slower.
_PRV_ERROR: Final = 0.005
_LEAST_PRV_ERROR: Final = 0.004
_LARGEST_PRV_ERROR: Final = 0.01
# The steps in which losses are counted, likewise.
_PLD_INTERVAL: Final = 2e-4
_LEAST_PLD_INTERVAL: Final = 1e-6
_LARGEST_PLD_INTERVAL: Final = 1e-3
_MOST_PLD_STEPS: Final = 1_000_000
# Beyond so many deviations there is next to nothing of the noise.
_TAIL: Final = 8
# What both may lose of delta for each step, as they compose by Fourier transforms of float64: over three times the most
# that was measured.
_LOST: Final = 2.0**-51
# Where it is more than this part of delta, nothing is told of it.
_LARGEST_LOST: Final = 0.5
_FAILURES: Final = (ValueError, RuntimeError, MemoryError, ArithmeticError)


def epsilon_prv(events: Events, delta: float, rdp: float) -> float | None:
    """By privacy loss random variables; None where they do not apply.

    Args:
        rdp: the bound by Renyi differential privacy of the same events.
    """
    if not events or not _applies(events, delta, rdp):
        return None if events else 0.0
    error = min(max(_PRV_ERROR * rdp, _LEAST_PRV_ERROR), _LARGEST_PRV_ERROR)
    return _prv(events, delta - _lost(events), error)


def epsilon_pld(events: Events, delta: float, rdp: float) -> float | None:
    """By privacy loss distributions; None where they do not apply.

    Args:
        rdp: the bound by Renyi differential privacy of the same events.
    """
    if not events or not _applies(events, delta, rdp):
        return None if events else 0.0
    least = min(noise for noise, _, _ in map(_use, events))
    reach = (0.5 + _TAIL * least) / least**2
    interval = min(max(_PLD_INTERVAL * rdp, _LEAST_PLD_INTERVAL), _LARGEST_PLD_INTERVAL)
    return _pld(events, delta - _lost(events), max(interval, reach / _MOST_PLD_STEPS))


def _applies(events: Events, delta: float, rdp: float) -> bool:
    return (
        all(event.noise_multiplier >= _LEAST_NOISE for event in events)
        and sum(event.steps for event in events) <= _MOST_STEPS
        and rdp <= _LARGEST_EPSILON
        and _lost(events) <= _LARGEST_LOST * delta
    )


def _lost(events: Events) -> float:
    """Of delta, in floating point, at most."""
    return _LOST * sum(event.steps for event in events)


@lru_cache(maxsize=256)
def _prv(events: Events, delta: float, error: float) -> float | None:
    from opacus.accountants import PRVAccountant

    accountant = PRVAccountant()
    accountant.history = [_use(event) for event in events]
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            return _sound(float(accountant.get_epsilon(delta, eps_error=error)))
    except _FAILURES:
        return None


@lru_cache(maxsize=256)
def _pld(events: Events, delta: float, interval: float) -> float | None:
    # Not at the top: it brings scipy, and to verify a ledger needs neither.
    from dp_accounting.pld import privacy_loss_distribution as losses

    total: Any = None
    try:
        for noise, rate, steps in map(_use, events):
            step = losses.from_gaussian_mechanism(
                noise, value_discretization_interval=interval, sampling_prob=rate, pessimistic_estimate=True
            )
            composed = step.self_compose(steps)
            total = total.compose(composed) if total else composed
        return _sound(float(total.get_epsilon_for_delta(delta)))
    except _FAILURES:
        return None


def _use(event: GaussianEvent) -> tuple[float, float, int]:
    return min(event.noise_multiplier, LARGEST_NOISE), event.sampling_rate, event.steps


def _sound(found: float) -> float | None:
    return found if math.isfinite(found) and found >= 0 else None
