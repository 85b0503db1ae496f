"""How much privacy a list of events costs: epsilon at a delta, by two accountants, both from Opacus.

Knows Renyi differential privacy (Mironov 2017; Mironov, Talwar and Zhang 2019) and privacy loss random variables (Gopi,
Lee and Wutschitz 2021). Neighbouring data sets differ by one patient, added or removed. Knows nothing of ledgers.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

from dp.events import GaussianEvent, merge
from secagg.errors import InputError

_ORDERS: Final = tuple([1 + x / 10 for x in range(1, 100)] + list(range(11, 64)) + [2.0**k for k in range(6, 13)])
_ROUGH_ORDERS: Final = (2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0, 48.0, 63.0, 128.0)
# Numerical composition is not reliable where one step alone is nearly free of noise.
_LEAST_NOISE_FOR_PRV: Final = 0.4
_PRV_ERROR: Final = 0.01
_NOISE_GRID: Final = 10_000
# Beyond these the formulas leave floating point. Less noise than the one counts as none, more than the other as that.
_LEAST_NOISE: Final = 1e-6
_LARGEST_NOISE: Final = 10_000.0
# Beyond these the numerical composition takes minutes, and nobody needs it.
_LARGEST_EPSILON_FOR_PRV: Final = 50.0
_MOST_STEPS_FOR_PRV: Final = 100_000

RdpCurve = npt.NDArray[np.float64]
Orders = tuple[float, ...]


@dataclass(frozen=True)
class EpsilonBound:
    """Upper bounds on epsilon at one delta.

    Attributes:
        rdp: by Renyi differential privacy; always valid.
        prv: by privacy loss random variables, its numerical error included; None where it does not apply.
    """

    rdp: float
    prv: float | None

    @property
    def charged(self) -> float:
        """The tightest valid bound."""
        return self.rdp if self.prv is None else min(self.rdp, self.prv)


def epsilon(events: Sequence[GaussianEvent], delta: float) -> EpsilonBound:
    """What ``events`` together cost one patient, by both accountants. No events cost nothing.

    Raises:
        InputError: ``bad-delta``.
    """
    _check_delta(delta)
    merged = merge(events)
    return EpsilonBound(_epsilon_rdp(merged, delta), _epsilon_prv(merged, delta))


def epsilon_rdp(events: Sequence[GaussianEvent], delta: float) -> float:
    """The bound by Renyi differential privacy alone: milliseconds, for use in every round.

    Raises:
        InputError: ``bad-delta``.
    """
    _check_delta(delta)
    return _epsilon_rdp(merge(events), delta)


def epsilon_of_runs(runs: Sequence[tuple[Sequence[GaussianEvent], ...]], delta: float) -> float:
    """What all ``runs`` together cost any patient, where in each run a patient is in one of its groups only.

    In a run, a patient is in training or in validation; in another run it may be the other way round. At every order
    the dearer group counts, and the runs add up: the bound holds for each patient, whatever the splits were.

    Raises:
        InputError: ``bad-delta``.
    """
    _check_delta(delta)
    total = np.zeros(len(_ORDERS))
    for groups in runs:
        total = total + np.max([_rdp_of(merge(events)) for events in groups], axis=0)
    return _epsilon_at(total, delta)


def noise_multiplier_for(target: float, delta: float, sampling_rate: float, steps: int) -> float:
    """The smallest noise multiplier, to four decimals, with which ``steps`` steps cost at most ``target``.

    By Renyi differential privacy, the bound that the ledger enforces.

    Raises:
        InputError: ``bad-delta``, ``unreachable-epsilon``.
    """
    _check_delta(delta)

    def best(noise: int, orders: Orders) -> tuple[float, float]:
        """Epsilon with ``noise`` steps of the grid at the best of ``orders``, and that order."""
        return _best_order(steps * _rdp_at(noise / _NOISE_GRID, sampling_rate, orders), delta, orders)

    def least(enough: int, orders: Orders) -> int:
        """The smallest noise that is enough at one of ``orders``; ``enough`` is."""
        low = 0
        while enough - low > 1:
            middle = (low + enough) // 2
            low, enough = (middle, enough) if best(middle, orders)[0] > target else (low, middle)
        return enough

    # An order gives this much even where nothing is spent. Those left out are the slowest to compute.
    useful = tuple(order for order in _ORDERS if _best_order(np.zeros(1), delta, (order,))[0] <= target)
    enough = int(_LARGEST_NOISE * _NOISE_GRID)
    found, order = best(enough, useful) if useful else (math.inf, math.nan)
    if not target > 0 or found > target:
        raise InputError(
            "unreachable-epsilon",
            f"No amount of noise brings {steps} steps down to epsilon {target:g}.",
            remedy="Raise epsilon, or lower the rounds, local steps or sampling rate.",
        )
    # A few orders, fast to compute, lead near it; then the best one nearby, until none is better.
    enough = least(enough, (order, *_ROUGH_ORDERS))
    while enough > 1:
        found, order = best(enough - 1, useful)
        if found > target:
            break
        enough = least(enough - 1, (order,))
    return enough / _NOISE_GRID


@lru_cache(maxsize=256)
def _epsilon_rdp(events: tuple[GaussianEvent, ...], delta: float) -> float:
    return _epsilon_at(_rdp_of(events), delta)


def _epsilon_at(total: RdpCurve, delta: float) -> float:
    return max(0.0, _best_order(total, delta, _ORDERS)[0]) if total.any() else 0.0


def _best_order(total: RdpCurve, delta: float, orders: Orders) -> tuple[float, float]:
    """The least epsilon that any of ``orders`` gives, and that order; ``total`` is the RDP at each of them."""
    # Not at the top, here and below: Opacus brings torch, which takes seconds, and to verify a ledger needs neither.
    from opacus.accountants.analysis import rdp

    if np.isinf(total).all():
        return math.inf, orders[0]
    with warnings.catch_warnings():
        # Opacus warns where the best order is the first or last; the bound holds all the same.
        warnings.simplefilter("ignore")
        found, order = rdp.get_privacy_spent(orders=orders, rdp=total, delta=delta)
    return float(found), float(order)


def _rdp_of(events: tuple[GaussianEvent, ...]) -> RdpCurve:
    """RDP at every order of `_ORDERS`."""
    total = np.zeros(len(_ORDERS))
    for event in events:
        # Written so that noise that is no number counts as none.
        if not event.noise_multiplier >= _LEAST_NOISE:
            return np.full(len(_ORDERS), math.inf)
        noise = min(event.noise_multiplier, _LARGEST_NOISE)
        total = total + event.steps * _rdp_of_a_step(noise, event.sampling_rate)
    return total


@lru_cache(maxsize=1024)
def _rdp_of_a_step(noise_multiplier: float, sampling_rate: float) -> RdpCurve:
    return _rdp_at(noise_multiplier, sampling_rate, _ORDERS)


def _rdp_at(noise_multiplier: float, sampling_rate: float, orders: Orders) -> RdpCurve:
    from opacus.accountants.analysis import rdp

    found = rdp.compute_rdp(q=sampling_rate, noise_multiplier=noise_multiplier, steps=1, orders=orders)
    return np.asarray(found, dtype=np.float64)


@lru_cache(maxsize=256)
def _epsilon_prv(events: tuple[GaussianEvent, ...], delta: float) -> float | None:
    if not events:
        return 0.0
    if not all(event.noise_multiplier >= _LEAST_NOISE_FOR_PRV for event in events):
        return None
    if sum(event.steps for event in events) > _MOST_STEPS_FOR_PRV:
        return None
    if not _epsilon_rdp(events, delta) <= _LARGEST_EPSILON_FOR_PRV:
        return None
    from opacus.accountants import PRVAccountant

    accountant = PRVAccountant()
    accountant.history = [
        (min(event.noise_multiplier, _LARGEST_NOISE), event.sampling_rate, event.steps) for event in events
    ]
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            found = float(accountant.get_epsilon(delta, eps_error=_PRV_ERROR))
    except (ValueError, RuntimeError, MemoryError, ArithmeticError):
        return None
    return found if math.isfinite(found) and found >= 0 else None


def _check_delta(delta: float) -> None:
    if not 0 < delta < 1:
        raise InputError("bad-delta", f"delta is {delta:g}.", remedy="Choose it above 0 and well below 1 / patients.")
