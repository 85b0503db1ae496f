"""Renyi divergences at any order above 1 from those at whole orders: upper bounds, two ways, of which the lower counts.

Knows excesses at whole orders, as `dp.accounting.sampling` defines them. ``docs/accounting.md`` has the proofs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

from dp.accounting.orders import Orders, RdpCurve

# Where a power touches the two whole powers beside it: each is valid, and the best counts.
_TOUCHES: Final = np.geomspace(1.1, 1e6, 120)
_SERIES: Final = 1e-3


def whole_orders(orders: Orders) -> tuple[int, ...]:
    """The whole orders above 1 next to ``orders``, rising."""
    return tuple(sorted({whole for order in orders for whole in (math.floor(order), math.ceil(order)) if whole > 1}))


def at_orders(orders: Orders, rate: float, wholes: Sequence[int], excess: RdpCurve) -> RdpCurve:
    """Upper bounds on the divergence at ``orders``, float64.

    Args:
        rate: with which a patient is in the sample: without the patient's data, X is never below 1 - rate.
        wholes: what `whole_orders` says of ``orders``.
        excess: the logs of the excesses at ``wholes``.
    """
    scaled = np.minimum(_chords(orders, wholes, excess), _touching(orders, rate, wholes, excess))
    return np.asarray(scaled / (np.array(orders) - 1), np.float64)


def _chords(orders: Orders, wholes: Sequence[int], excess: RdpCurve) -> RdpCurve:
    """log E[X^alpha] is convex in alpha and 0 at 1: it lies below the straight line between two whole orders."""
    return np.asarray(np.interp(orders, [1, *wholes], [0.0, *np.logaddexp(0.0, excess)]), np.float64)


def _touching(orders: Orders, rate: float, wholes: Sequence[int], excess: RdpCurve) -> RdpCurve:
    """Bounds on log E[X^alpha] by the two whole powers of X beside, of which a weighted sum is never below X^alpha."""
    found = np.full(len(orders), math.inf)
    places, lower, upper, below, above = _weights(orders)
    at = {whole: float(log) for whole, log in zip(wholes, excess, strict=True)}
    logs = np.logaddexp(
        below + np.array([[at[whole]] for whole in lower]).reshape(-1, 1),
        above + np.array([[at[whole]] for whole in upper]).reshape(-1, 1),
    )
    found[places] = np.logaddexp(0.0, logs.min(axis=1)) if len(places) else []
    for place, order in enumerate(orders):
        if order < 2:
            found[place] = np.logaddexp(0.0, math.log(_share_of_square(order, rate)) + at[2])
    return found


def _share_of_square(order: float, rate: float) -> float:
    """Below 2: the most that X^order is of X^2, both less their tangents: at the least X that there is, 1 - rate."""
    if rate < _SERIES:
        # The quotient would lose its digits; the series in the rate is below this.
        return order * (order - 1) / 2 * (1 + rate)
    return float(_bent(order, 1 - rate)) / rate**2


@lru_cache(maxsize=64)
def _weights(orders: Orders) -> tuple[npt.NDArray[np.int64], list[int], list[int], RdpCurve, RdpCurve]:
    """For each fractional order above 2: where it is, the whole orders beside, and the logs of their weights.

    Weights are float64 (orders, touches): those with which both powers, less their tangents at 1, touch that of the
    order, less its tangent at 1, at the touch.
    """
    places = [place for place, order in enumerate(orders) if order > 2 and order != math.floor(order)]
    below, above = [], []
    for order in (orders[place] for place in places):
        lower, upper = math.floor(order), math.ceil(order)
        determinant = _bent(lower, _TOUCHES) * _slope(upper, _TOUCHES) - _bent(upper, _TOUCHES) * _slope(
            lower, _TOUCHES
        )
        first = _bent(order, _TOUCHES) * _slope(upper, _TOUCHES) - _bent(upper, _TOUCHES) * _slope(order, _TOUCHES)
        second = _bent(lower, _TOUCHES) * _slope(order, _TOUCHES) - _bent(order, _TOUCHES) * _slope(lower, _TOUCHES)
        below.append(np.log(first / determinant))
        above.append(np.log(second / determinant))
    wholes = [math.floor(orders[place]) for place in places]
    shape = (len(places), len(_TOUCHES))
    return (
        np.array(places, np.int64),
        wholes,
        [whole + 1 for whole in wholes],
        np.array(below).reshape(shape),
        np.array(above).reshape(shape),
    )


def _bent(order: float, ratio: npt.ArrayLike) -> RdpCurve:
    """ratio^order less its tangent at 1."""
    value = np.asarray(ratio, np.float64)
    return np.asarray(value**order - 1 - order * (value - 1), np.float64)


def _slope(order: float, ratio: npt.ArrayLike) -> RdpCurve:
    """The derivative of `_bent`."""
    return np.asarray(order * (np.asarray(ratio, np.float64) ** (order - 1) - 1), np.float64)
