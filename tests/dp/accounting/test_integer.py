"""What integer noise is said to cost is never below the divergence that is summed up, and hardly above it."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest
from opacus.accountants.analysis.rdp import compute_rdp
from scipy.special import logsumexp

from dp.accounting import EpsilonBound, epsilon, epsilon_rdp
from dp.accounting.integer import distance_to_one, integer_step, released
from dp.accounting.orders import ORDERS
from dp.accounting.sampling import sampled_excess
from dp.events import GaussianEvent, IntegerEvent
from tests.dp.accounting.exact import (
    discrete_gaussian,
    divergence,
    mixed,
    shifted,
    skellam,
    sum_of_discrete_gaussians,
)

DELTA = 1e-5
WHOLE = np.array([2.0, 3, 4, 5, 8, 16, 32, 64, 128, 256])


def event(noise="skellam", variance=100.0, shift=1, coordinates=1, dimension=None, shares=1, rate=1.0, steps=1):
    """A patient moves each of ``coordinates`` by ``shift``."""
    return IntegerEvent(
        noise=noise,
        variance=variance,
        l1=float(shift * coordinates),
        l2=shift * math.sqrt(coordinates),
        dimension=dimension or coordinates,
        shares=shares,
        sampling_rate=rate,
        steps=steps,
    )


LARGE = IntegerEvent(
    noise="skellam",
    variance=(0.8 * 2_000) ** 2,
    l1=2_000 * math.sqrt(15_000),
    l2=2_000.0,
    dimension=15_000,
    shares=30,
    sampling_rate=256 / 4708,
    steps=300,
)


def reach_of(variance, shift, order):
    """As far as the sum has a say at this order."""
    return math.ceil((order + 1) * shift + 40 * math.sqrt(variance) + 40)


# --- Releases ------------------------------------------------------------------------------------------------


def test_the_summed_probabilities_are_those_of_the_distributions():
    values = np.arange(-400, 401)
    for logs in (skellam(9.0, 400), discrete_gaussian(9.0, 400), sum_of_discrete_gaussians(4, 2.25, 400)):
        assert logsumexp(logs) == pytest.approx(0, abs=1e-12)
        assert np.exp(logs) @ values**2 == pytest.approx(9, rel=1e-6)
    generator = np.random.default_rng(1)
    drawn = generator.poisson(4.5, 200_000) - generator.poisson(4.5, 200_000)
    assert np.mean(drawn == 2) == pytest.approx(np.exp(skellam(9.0, 400)[402]), abs=0.003)


@pytest.mark.parametrize("variance", [1.0, 4.0, 25.0, 400.0])
@pytest.mark.parametrize("shift", [1, 2, 7, 40])
def test_skellam_noise_costs_no_less_than_the_sum_says(variance, shift):
    bounds = released(event(variance=variance, shift=shift), WHOLE)
    for order, bound in zip(WHOLE, bounds, strict=True):
        logs = skellam(variance, reach_of(variance, shift, order))
        moved, still = reversed(shifted(logs, shift))
        assert divergence(moved, still, order) <= bound * (1 + 1e-9)


@pytest.mark.parametrize(
    ("mu", "l1", "l2", "expected"),
    [
        pytest.param(10.0, 8.0, 4.0, 3 * 16 / 20 + (5 * 16 + 6 * 8) / 400, id="much noise"),
        pytest.param(1.0, 2.0, 2.0, 3 * 4 / 2 + 3 * 2 / 2, id="little noise"),
    ],
)
def test_skellam_noise_costs_what_the_theorem_says_at_order_3(mu, l1, l2, expected):
    patient = IntegerEvent(noise="skellam", variance=mu, l1=l1, l2=l2, dimension=4, shares=3, sampling_rate=1, steps=1)
    assert released(patient, np.array([3.0]))[0] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("variance", [100.0, 10_000.0])
def test_skellam_noise_of_ten_steps_or_more_costs_hardly_more_than_the_sum_says(variance):
    for order in (2.0, 8.0, 32.0):
        moved, still = reversed(shifted(skellam(variance, reach_of(variance, 1, order)), 1))
        (bound,) = released(event(variance=variance), np.array([order]))
        assert bound <= 1.05 * divergence(moved, still, order)


def test_over_several_coordinates_divergences_add_up_to_less_than_the_bound():
    logs = skellam(25.0, reach_of(25.0, 3, 16))
    for order in (2.0, 16.0):
        each = [divergence(*reversed(shifted(logs, shift)), order) for shift in (3, 1, 1, 2)]
        patient = IntegerEvent(
            noise="skellam", variance=25.0, l1=7, l2=math.sqrt(15), dimension=4, shares=1, sampling_rate=1, steps=1
        )
        assert sum(each) <= released(patient, np.array([order]))[0]


@pytest.mark.parametrize("variance", [0.3, 1.0, 30.0])
@pytest.mark.parametrize("shift", [1, 3])
def test_one_discrete_gaussian_costs_what_the_continuous_one_does(variance, shift):
    # Canonne, Kamath and Steinke 2020, proposition 5: exactly as much, at whole orders.
    bounds = released(event("discrete-gaussian", variance, shift), WHOLE[:6])
    for order, bound in zip(WHOLE[:6], bounds, strict=True):
        logs = discrete_gaussian(variance, reach_of(variance, shift, order))
        assert divergence(*reversed(shifted(logs, shift)), order) == pytest.approx(bound, rel=1e-9)


@pytest.mark.parametrize("shares", [2, 3, 5])
@pytest.mark.parametrize("deviation", [0.5, 0.6, 0.8, 1.0, 1.5])
def test_a_sum_of_discrete_gaussians_is_as_near_to_one_as_tau_says(shares, deviation):
    reach = math.ceil(12 * deviation * math.sqrt(shares))
    one = discrete_gaussian(shares * deviation**2, 2 * reach)[reach:-reach]
    several = sum_of_discrete_gaussians(shares, deviation**2, 2 * reach)[reach:-reach]
    assert np.abs(one - several).max() <= distance_to_one(shares, deviation) / 2 + 1e-12


@pytest.mark.parametrize("shares", [2, 5])
@pytest.mark.parametrize("deviation", [0.3, 0.5, 0.7, 1.0, 2.0])
@pytest.mark.parametrize("shift", [1, 3])
def test_a_sum_of_discrete_gaussians_costs_no_less_than_the_sum_says(shares, deviation, shift):
    patient = event("discrete-gaussian", shares * deviation**2, shift, shares=shares)
    for order in (2.0, 3.0, 6.0):
        logs = sum_of_discrete_gaussians(shares, deviation**2, math.ceil(25 * deviation * math.sqrt(shares)) + 20)
        assert divergence(*reversed(shifted(logs, shift)), order) <= released(patient, np.array([order]))[0] + 1e-9


def test_many_shares_of_some_deviation_cost_no_more_than_one_of_the_sum():
    one, many = (released(event("discrete-gaussian", 900.0, 30, 40, 15_000, shares), WHOLE) for shares in (1, 40))
    np.testing.assert_allclose(many, one, rtol=1e-12)


def test_narrow_shares_cost_more_the_more_coordinates_there_are_but_never_more_than_one_share_alone():
    cost = [epsilon_rdp((event("discrete-gaussian", 10.0, 1, 1, d, 10, steps=20),), DELTA) for d in (1, 100, 10**6)]
    assert cost[0] < cost[1] < cost[2]
    alone = epsilon_rdp((event("discrete-gaussian", 1.0, 1, 1, steps=20),), DELTA)
    assert cost[2] <= alone


@pytest.mark.parametrize("shift", [1, 7])
def test_shares_too_narrow_for_a_sum_of_them_to_be_near_one_cost_what_one_share_alone_does(shift):
    narrow, one = (event("discrete-gaussian", 0.1 * shares, shift, shares=shares) for shares in (10, 1))
    assert epsilon_rdp((narrow,), DELTA) == epsilon_rdp((one,), DELTA)


def test_the_tail_of_a_long_sum_is_bounded_and_not_left_out():
    k = np.arange(1, 9000)
    exact = 10 * np.exp(-2 * math.pi**2 * 0.25 * k / (k + 1)).sum()
    assert exact <= distance_to_one(9000, 0.5) <= 1.001 * exact
    assert distance_to_one(1, 0.5) == 0
    assert math.isfinite(distance_to_one(10**12, 0.5))


def sampled(release, rate, wholes):
    """The divergence at ``wholes`` on a sample."""
    return np.logaddexp(0, sampled_excess(release, rate, wholes)) / (np.array(wholes) - 1)


# --- Sampling ------------------------------------------------------------------------------------------------

DISTRIBUTIONS = {
    "skellam": lambda reach: skellam(9.0, reach),
    "one discrete Gaussian": lambda reach: discrete_gaussian(9.0, reach),
    "a sum of discrete Gaussians": lambda reach: sum_of_discrete_gaussians(3, 1.0, min(reach, 60)),
}
by_distribution = pytest.mark.parametrize("logs_of", DISTRIBUTIONS.values(), ids=DISTRIBUTIONS)


@by_distribution
@pytest.mark.parametrize("rate", [0.001, 0.05, 0.5, 0.95])
@pytest.mark.parametrize("shift", [1, 4])
def test_to_add_a_patient_costs_no_more_than_to_remove_one(logs_of, rate, shift):
    with_patient, without = reversed(shifted(logs_of(700), shift))
    sample = mixed(without, with_patient, rate)
    for order in (1.3, 2.0, 3.7, 8.0):
        assert divergence(without, sample, order) <= divergence(sample, without, order) + 1e-12


def test_control_noise_that_is_not_symmetric_can_cost_more_the_other_way_round():
    base, other = np.log([0.05, 0.95]), np.log([0.5, 0.5])
    sample = mixed(other, base, 0.5)
    assert divergence(other, sample, 8.0) > divergence(sample, other, 8.0)


@by_distribution
@pytest.mark.parametrize("rate", [0.001, 0.05, 0.5])
def test_sampling_is_computed_exactly_where_the_release_is(logs_of, rate):
    moved, still = reversed(shifted(logs_of(200), 2))
    levels = range(2, 9)
    release = np.array([divergence(moved, still, order) for order in levels])
    expected = [divergence(mixed(still, moved, rate), still, order) for order in (2, 3, 8)]
    np.testing.assert_allclose(sampled(release, rate, (2, 3, 8)), expected, rtol=1e-7)


@pytest.mark.parametrize("noise", [0.7, 2.0, 50.0])
@pytest.mark.parametrize("rate", [1e-4, 0.05, 0.9, 1.0])
def test_sampling_of_gaussian_noise_is_what_opacus_computes(noise, rate):
    orders = [2, 3, 10, 64, 256]
    release = np.arange(2, 257) / (2 * noise**2)
    expected = compute_rdp(q=rate, noise_multiplier=noise, steps=1, orders=orders)
    np.testing.assert_allclose(sampled(release, rate, orders), expected, rtol=1e-6, atol=1e-13)


def test_a_small_cost_is_not_lost_beside_one():
    # For small divergences the sum is alpha q^2 D(2) / 2 to first order.
    (found,) = sampled(np.array([1e-12]), 1e-3, (2,))
    assert found == pytest.approx(1e-18, rel=1e-6)


@pytest.mark.parametrize("variance", [1.0, 9.0, 100.0])
@pytest.mark.parametrize("rate", [0.01, 0.2, 1.0])
def test_a_step_costs_no_less_than_the_sum_says_at_any_order_and_in_both_directions(variance, rate):
    bounds = integer_step(event(variance=variance, shift=2, rate=rate), ORDERS)
    for place in (0, 4, 8, 14, 37, 98, 110):
        order = ORDERS[place]
        with_patient, without = reversed(shifted(skellam(variance, reach_of(variance, 2, order)), 2))
        sample = mixed(without, with_patient, rate) if rate < 1 else with_patient
        assert divergence(sample, without, order) <= bounds[place] * (1 + 1e-9)
        assert divergence(without, sample, order) <= bounds[place] * (1 + 1e-9)


# --- Epsilon -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("noise", ["skellam", "discrete-gaussian"])
def test_on_a_fine_grid_a_run_costs_what_gaussian_noise_does(noise):
    bound = epsilon((msgspec.structs.replace(LARGE, noise=noise),), DELTA)
    gaussian = epsilon_rdp((GaussianEvent(0.8, LARGE.sampling_rate, LARGE.steps),), DELTA)
    assert gaussian <= bound.rdp <= 1.011 * gaussian
    assert (bound.prv, bound.pld) == (None, None)
    assert bound.tightest == bound.rdp
    # The reference is for comparison, and is no bound.
    assert bound.gaussian_reference < bound.rdp
    assert bound.gaussian_reference == epsilon((GaussianEvent(0.8, LARGE.sampling_rate, LARGE.steps),), DELTA).tightest


def test_a_coarse_grid_costs_more():
    coarse = IntegerEvent(
        noise="skellam",
        variance=(0.8 * 4) ** 2,
        l1=16,
        l2=4,
        dimension=15_000,
        shares=30,
        sampling_rate=LARGE.sampling_rate,
        steps=LARGE.steps,
    )
    assert epsilon_rdp((coarse,), DELTA) > 1.02 * epsilon_rdp((LARGE,), DELTA)


def test_integer_and_gaussian_steps_compose_in_any_order():
    gaussian = GaussianEvent(2.0, 0.05, 100)
    together = epsilon((LARGE, gaussian), DELTA)
    assert together == epsilon((gaussian, LARGE), DELTA)
    assert together.rdp > max(epsilon_rdp((LARGE,), DELTA), epsilon_rdp((gaussian,), DELTA))
    assert together.rdp < epsilon_rdp((LARGE,), DELTA / 2) + epsilon_rdp((gaussian,), DELTA / 2)


def test_no_steps_of_integer_noise_cost_nothing_and_steps_without_noise_everything():
    silent = msgspec.structs.replace(LARGE, variance=0.0)
    assert epsilon((msgspec.structs.replace(LARGE, steps=0),), DELTA) == EpsilonBound(0.0, 0.0, 0.0)
    assert epsilon_rdp((msgspec.structs.replace(silent, steps=0),), DELTA) == 0
    assert epsilon((silent,), DELTA).tightest == math.inf


@pytest.mark.parametrize("field", ["variance", "l1", "l2"])
@pytest.mark.parametrize("value", [math.inf, math.nan])
def test_numbers_that_are_none_count_as_no_noise(field, value):
    assert epsilon_rdp((msgspec.structs.replace(LARGE, **{field: value}),), DELTA) == math.inf


@pytest.mark.parametrize("noise", ["skellam", "discrete-gaussian"])
def test_noise_of_less_than_a_millionth_of_what_a_patient_moves_counts_as_none(noise):
    little = msgspec.structs.replace(LARGE, noise=noise, variance=(0.9e-6 * LARGE.l2) ** 2)
    assert epsilon_rdp((little,), DELTA) == math.inf


@pytest.mark.parametrize("noise", ["skellam", "discrete-gaussian"])
@pytest.mark.parametrize("ratio", [1e-5, 1e-3, 0.1, 1e3, 1e8])
def test_noise_of_any_size_gives_a_number_and_more_noise_a_smaller_one(noise, ratio):
    def cost(variance):
        return epsilon_rdp((msgspec.structs.replace(LARGE, noise=noise, variance=variance),), DELTA)

    less, more = cost((ratio * 2000) ** 2), cost((2 * ratio * 2000) ** 2)
    assert 0 < more <= less < math.inf


@pytest.mark.parametrize("noise", ["skellam", "discrete-gaussian"])
@pytest.mark.parametrize(
    ("variance", "shift"),
    [(1e308, 1e155), (1e308, 1e150), (1e308, 1.0), (1e208, 1e100), (1e200, 1e75)],
    ids=lambda number: f"{number:g}",
)
def test_noise_at_the_end_of_floating_point_costs_no_less_than_it_does_on_a_smaller_scale(noise, variance, shift):
    huge = IntegerEvent(
        noise=noise, variance=variance, l1=shift, l2=shift, dimension=1, shares=10, sampling_rate=1.0, steps=100_000
    )
    smaller = msgspec.structs.replace(huge, variance=(math.sqrt(variance) / shift) ** 2, l1=1.0, l2=1.0)
    assert epsilon_rdp([huge], DELTA) >= epsilon_rdp([smaller], DELTA) * (1 - 1e-9)


def test_who_is_not_moved_by_it_pays_nothing():
    assert (
        epsilon_rdp(
            (
                IntegerEvent(
                    noise="skellam", variance=4.0, l1=0, l2=0, dimension=3, shares=1, sampling_rate=0.5, steps=9
                ),
            ),
            DELTA,
        )
        == 0
    )
