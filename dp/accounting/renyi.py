"""Renyi divergences of events added up, and epsilon from the sum.

Sources: composition, Mironov 2017 (arXiv 1702.07476), proposition 1; conversion, Balle et al. 2020 (arXiv 1905.09982),
theorem 21.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import msgspec
import numpy as np

from dp.accounting.gaussian import gaussian_step
from dp.accounting.integer import integer_step
from dp.accounting.orders import ORDERS, Orders, RdpCurve
from dp.events import Event, GaussianEvent
from secagg.errors import InputError


def rdp_of(events: Sequence[Event]) -> RdpCurve:
    """The divergence of all ``events`` together at `ORDERS`, float64.

    Args:
        events: as `dp.events.merge` gives them: none has no steps, of which an infinite divergence would be no number.
    """
    total = np.zeros(len(ORDERS))
    for event in events:
        total = total + event.steps * _remembered_step(msgspec.structs.replace(event, steps=1))
    return total


def rdp_at(events: Sequence[Event], orders: Orders) -> RdpCurve:
    """The same at ``orders``, and nothing is remembered: for noise that is tried once."""
    total = np.zeros(len(orders))
    for event in events:
        total = total + event.steps * _step(event, orders)
    return total


def epsilon_at(total: RdpCurve, delta: float) -> float:
    """Epsilon of the divergence ``total`` at `ORDERS`."""
    return max(0.0, best_order(total, delta, ORDERS)[0]) if total.any() else 0.0


def best_order(total: RdpCurve, delta: float, orders: Orders) -> tuple[float, float]:
    """The least epsilon that any of ``orders`` gives, and that order; ``total`` is the divergence at each of them.

    Where floating point gives no number at an order, that order is left out.
    """
    places = np.array(orders)
    found = total + np.log1p(-1 / places) - (math.log(delta) + np.log(places)) / (places - 1)
    if not np.isfinite(found).any():
        return math.inf, orders[0]
    best = int(np.nanargmin(found))
    return float(found[best]), orders[best]


def check_delta(delta: float) -> None:
    """Refuse what is no probability.

    Raises:
        InputError: ``bad-delta``.
    """
    if not 0 < delta < 1:
        raise InputError("bad-delta", f"delta is {delta:g}.", remedy="Choose it above 0 and well below 1 / patients.")


@lru_cache(maxsize=1024)
def _remembered_step(use: Event) -> RdpCurve:
    return _step(use, ORDERS)


def _step(event: Event, orders: Orders) -> RdpCurve:
    return gaussian_step(event, orders) if isinstance(event, GaussianEvent) else integer_step(event, orders)
