"""Between whole orders: never below the truth, and for Gaussian noise, where it is known, hardly above it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from opacus.accountants.analysis.rdp import compute_rdp

from dp.accounting.fractional import _TOUCHES, _bent, _chords, _share_of_square, _weights, at_orders, whole_orders
from dp.accounting.orders import ORDERS
from dp.accounting.sampling import sampled_excess

FRACTIONAL = (2.1, 2.5, 2.9, 3.3, 5.5, 10.9)


def test_the_whole_orders_are_those_beside():
    assert whole_orders((1.1, 2.0, 2.5, 7.3, 63.0, 64.0)) == (2, 3, 7, 8, 63, 64)
    assert whole_orders((1.5,)) == (2,)
    assert set(whole_orders(ORDERS)) >= {order for order in ORDERS if order == math.floor(order)}


@pytest.mark.parametrize("order", FRACTIONAL)
def test_two_whole_powers_less_their_tangents_are_never_below_the_one_between(order):
    _, (lower,), (upper,), below, above = _weights((order,))
    ratios = np.concatenate([np.linspace(0, 5, 2001), np.geomspace(5, 1e8, 500)])
    for number in range(0, len(_TOUCHES), 7):
        bound = np.exp(below[0, number]) * _bent(lower, ratios) + np.exp(above[0, number]) * _bent(upper, ratios)
        between = _bent(order, ratios)
        assert (between <= bound + 1e-11 * (1 + bound)).all()
        assert _bent(order, _TOUCHES[number]) == pytest.approx(
            np.exp(below[0, number]) * _bent(lower, _TOUCHES[number])
            + np.exp(above[0, number]) * _bent(upper, _TOUCHES[number])
        )


@pytest.mark.parametrize("order", [1.1, 1.5, 1.9])
@pytest.mark.parametrize("rate", [1e-9, 1e-4, 9.99e-4, 1e-3, 0.05, 0.6, 1.0])
def test_below_two_the_square_alone_is_enough_from_the_least_ratio_on(order, rate):
    share = _share_of_square(order, rate)
    ratios = np.concatenate([np.linspace(1 - rate, 5, 2001), np.geomspace(5, 1e8, 500)])
    assert (_bent(order, ratios) <= share * (ratios - 1) ** 2 + 1e-14).all()
    assert order * (order - 1) / 2 <= share <= order - 1 + 1e-12


@pytest.mark.parametrize(
    ("noise", "rate"), [(0.6, 0.05), (0.8, 0.05), (1.5, 0.1), (1.5, 0.004), (3.0, 1.0), (0.5, 0.5)]
)
def test_for_gaussian_noise_the_bound_is_above_the_truth_and_meets_it_at_whole_orders(noise, rate):
    orders = tuple(order for order in ORDERS if order <= 64)
    wholes = whole_orders(orders)
    excess = sampled_excess(np.arange(2, 65) / (2 * noise**2), rate, wholes)
    found = at_orders(orders, rate, wholes, excess)
    expected = compute_rdp(q=rate, noise_multiplier=noise, steps=1, orders=orders)
    assert (found >= expected * (1 - 1e-9)).all()
    is_whole = np.array([order == math.floor(order) for order in orders])
    np.testing.assert_allclose(found[is_whole], expected[is_whole], rtol=1e-6)


def test_where_sampling_makes_the_curve_bend_touching_is_far_below_the_chord():
    orders = (2.5,)
    excess = sampled_excess(np.array([2, 3]) / (2 * 0.8**2), 0.05, (2, 3))
    (expected,) = compute_rdp(q=0.05, noise_multiplier=0.8, steps=1, orders=orders)
    (chord,) = _chords(orders, (2, 3), excess) / 1.5
    (found,) = at_orders(orders, 0.05, (2, 3), excess)
    assert found < 1.03 * expected
    assert chord > 1.08 * expected
