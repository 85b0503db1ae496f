"""The smallest noise multiplier whose cost fits an epsilon, by Renyi differential privacy."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Final

import numpy as np

from dp.accounting.gaussian import LARGEST_NOISE
from dp.accounting.orders import ORDERS, ROUGH_ORDERS, Orders
from dp.accounting.renyi import best_order, check_delta, rdp_at
from dp.events import Event, GaussianEvent, merge
from secagg.errors import InputError

Cost = Callable[[float], Sequence[Event]]

_GRID: Final = 10_000
_LARGEST: Final = int(LARGEST_NOISE * _GRID)


def noise_multiplier_for(target: float, delta: float, sampling_rate: float, steps: int) -> float:
    """The smallest multiplier of Gaussian noise, to four decimals, with which ``steps`` steps cost at most ``target``.

    Raises:
        InputError: ``bad-delta``, ``unreachable-epsilon``.
    """
    return _remembered(target, delta, sampling_rate, steps)


# Half a second; whoever compares drafts of a charter asks the same of most.
@lru_cache(maxsize=256)
def _remembered(target: float, delta: float, sampling_rate: float, steps: int) -> float:
    return smallest_multiplier(target, delta, lambda noise: (GaussianEvent(noise, sampling_rate, steps),))


def smallest_multiplier(target: float, delta: float, cost: Cost) -> float:
    """The smallest noise multiplier, to four decimals, whose cost is at most ``target``.

    By Renyi differential privacy, the bound that the ledger enforces.

    Args:
        cost: the events that a noise multiplier comes to; more noise must not cost more. It is asked for multipliers
            from 0.0001 up to twice what is enough, or 1; what it raises is passed on.

    Raises:
        InputError: ``bad-delta``, ``unreachable-epsilon``.
    """
    check_delta(delta)
    search = _Search(target, delta, cost)
    if not target > 0 or not search.useful:
        raise search.unreachable()
    # A few orders, fast to compute, lead near it; then the best one nearby, until none is better.
    enough, order = search.from_below()
    enough = search.least(enough, (order, *ROUGH_ORDERS))
    while enough > 1:
        found, order = search.best(enough - 1, search.useful)
        if found > target:
            break
        enough = search.least(enough - 1, (order,))
    return enough / _GRID


class _Search:
    """A search on the grid of multipliers: noise is counted in steps of it."""

    def __init__(self, target: float, delta: float, cost: Cost) -> None:
        self.target = target
        self.delta = delta
        self.cost = cost
        # An order gives this much even where nothing is spent. Those left out are the slowest to compute.
        self.useful = tuple(order for order in ORDERS if best_order(np.zeros(1), delta, (order,))[0] <= target)

    def best(self, noise: int, orders: Orders) -> tuple[float, float]:
        """Epsilon with ``noise`` at the best of ``orders``, and that order."""
        return best_order(rdp_at(merge(self.cost(noise / _GRID)), orders), self.delta, orders)

    def least(self, enough: int, orders: Orders) -> int:
        """The smallest noise that is enough at one of ``orders``; ``enough`` is."""
        low = 0
        while enough - low > 1:
            middle = (low + enough) // 2
            low, enough = (middle, enough) if self.best(middle, orders)[0] > self.target else (low, middle)
        return enough

    def from_below(self) -> tuple[int, float]:
        """Noise that is enough, though not twice what is needed or more than 1, and an order at which it is."""
        noise, orders = _GRID, ROUGH_ORDERS
        while True:
            found, order = self.best(noise, orders)
            if found <= self.target:
                return noise, order
            if noise == _LARGEST:
                break
            noise = min(2 * noise, _LARGEST)
        found, order = self.best(noise, self.useful)
        if found > self.target or math.isnan(found):
            raise self.unreachable()
        return noise, order

    def unreachable(self) -> InputError:
        steps = max((event.steps for event in self.cost(1.0)), default=0)
        return InputError(
            "unreachable-epsilon",
            f"No amount of noise brings {steps} steps down to epsilon {self.target:g}.",
            remedy="Raise epsilon, or lower the rounds, local steps or sampling rate.",
        )
