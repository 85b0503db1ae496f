"""Epsilon agrees with what others publish, with another library, and with the closed form where there is one."""

from __future__ import annotations

import math
from functools import cache
from importlib.machinery import ModuleSpec

import numpy as np
import pytest
from dp_accounting import GaussianDpEvent, PoissonSampledDpEvent
from dp_accounting.pld import PLDAccountant, privacy_loss_distribution
from dp_accounting.rdp import RdpAccountant
from hypothesis import given, settings
from hypothesis import strategies as st
from opacus.accountants import PRVAccountant
from opacus.accountants.analysis.rdp import compute_rdp
from scipy.optimize import brentq
from scipy.stats import norm

from dp.accounting import EpsilonBound, epsilon, epsilon_rdp, gaussian
from dp.accounting.gaussian import gaussian_step
from dp.accounting.orders import ORDERS
from dp.events import GaussianEvent
from secagg.errors import InputError

DELTA = 1e-5
MNIST = 256 / 60_000

CASES = [
    ((GaussianEvent(1.1, MNIST, 14_062),), 1e-5),
    ((GaussianEvent(4.0, 0.01, 10_000),), 1e-5),
    ((GaussianEvent(1.5, 0.04, 2250),), 1e-5),
    ((GaussianEvent(2.0, 0.1, 300),), 1e-6),
    ((GaussianEvent(3.0, 1.0, 10),), 1e-5),
    ((GaussianEvent(0.6, 0.02, 50),), 1e-4),
    ((GaussianEvent(1.2, 0.05, 100), GaussianEvent(2.5, 0.2, 50), GaussianEvent(8.0, 1.0, 20)), 1e-5),
]
by_case = pytest.mark.parametrize(("events", "delta"), CASES, ids=[str(number) for number in range(len(CASES))])


@cache
def fine_pld(events, delta):
    return reference(PLDAccountant(value_discretization_interval=1e-4), events, delta)


def reference(accountant, events, delta):
    for event in events:
        step = GaussianDpEvent(event.noise_multiplier)
        if event.sampling_rate < 1:
            step = PoissonSampledDpEvent(event.sampling_rate, step)
        accountant.compose(step, event.steps)
    return accountant.get_epsilon(delta)


def exact_gaussian(noise_multiplier, steps, delta):
    """Balle and Wang 2018, theorem 8; ``steps`` unsampled releases are one of sensitivity ``sqrt(steps)``."""
    mu = math.sqrt(steps) / noise_multiplier

    def excess(candidate):
        return norm.cdf(mu / 2 - candidate / mu) - math.exp(candidate) * norm.cdf(-mu / 2 - candidate / mu) - delta

    return brentq(excess, 0.0, 100.0, xtol=1e-12)


@pytest.mark.parametrize("rate", [MNIST, 0.2, 1.0])
def test_the_divergence_of_a_step_is_what_the_whole_of_opacus_says(rate):
    expected = compute_rdp(q=rate, noise_multiplier=1.1, steps=1, orders=ORDERS)
    np.testing.assert_array_equal(gaussian_step(GaussianEvent(1.1, rate, 1), ORDERS), expected)


@pytest.mark.parametrize("content", [None, "from .orders import all_of_them\n", "import no_such_module\n"])
def test_where_its_formulas_cannot_be_had_alone_the_whole_of_opacus_is_loaded(tmp_path, monkeypatch, content):
    folder = tmp_path / "opacus"
    analysis = folder / "accountants" / "analysis"
    analysis.mkdir(parents=True)
    if content:
        (analysis / "rdp.py").write_text(content)
    spec = ModuleSpec("opacus", None, is_package=True)
    spec.submodule_search_locations = [str(folder)]
    monkeypatch.setattr(gaussian, "find_spec", lambda _name: spec)
    assert gaussian._formulas.__wrapped__().compute_rdp is compute_rdp


def test_no_epsilon_is_below_zero_where_delta_is_large_and_next_to_nothing_is_spent():
    bound = epsilon((GaussianEvent(10_000.0, 1.0, 1),), 0.5)
    assert bound.rdp == 0
    assert bound.prv is None or bound.prv >= 0
    assert bound.pld is None or bound.pld >= 0


@by_case
def test_rdp_agrees_with_dp_accounting(events, delta):
    assert epsilon_rdp(events, delta) == pytest.approx(reference(RdpAccountant(), events, delta), rel=0.01)


@by_case
def test_prv_is_at_least_the_privacy_loss_distribution_and_within_one_percent(events, delta):
    expected = fine_pld(events, delta)
    assert expected <= epsilon(events, delta).prv <= 1.01 * expected


@by_case
def test_two_numerical_accountants_agree_within_one_percent_and_the_tightest_bound_is_the_smaller(events, delta):
    bound = epsilon(events, delta)
    assert bound.pld == pytest.approx(bound.prv, rel=0.01)
    assert max(bound.prv, bound.pld) < bound.rdp
    assert bound.tightest == min(bound.prv, bound.pld)
    assert epsilon_rdp(events, delta) == bound.rdp
    assert bound.gaussian_reference is None


@by_case
def test_the_distribution_of_losses_is_rounded_towards_more_loss_and_hardly(events, delta):
    finer = fine_pld(events, delta)
    assert finer <= epsilon(events, delta).pld * (1 + 1e-6) <= 1.003 * finer


@by_case
def test_all_three_accountants_agree_but_for_what_the_conversion_from_renyi_divergence_loses(events, delta):
    bound = epsilon(events, delta)
    lost = 1.35 if min(event.noise_multiplier for event in events) < 0.7 else 1.1
    assert bound.prv < bound.rdp < lost * bound.pld


@pytest.mark.parametrize(
    ("event", "delta"), [(GaussianEvent(0.25, 1.0, 1), 1e-12), (GaussianEvent(2.0, 0.2, 1000), 1e-12)]
)
def test_that_loss_is_small_where_delta_is(event, delta):
    bound = epsilon((event,), delta)
    tightest = bound.pld if bound.pld is not None else exact_gaussian(event.noise_multiplier, event.steps, delta)
    assert tightest < bound.rdp < 1.04 * tightest


@pytest.mark.parametrize(("noise", "steps"), [(1.0, 1), (5.0, 1), (3.0, 10), (20.0, 30), (100.0, 400)])
@pytest.mark.parametrize("delta", [1e-3, 1e-5, 1e-8])
def test_without_sampling_all_bounds_stand_just_above_the_closed_form(noise, steps, delta):
    exact = exact_gaussian(noise, steps, delta)
    bound = epsilon((GaussianEvent(noise, 1.0, steps),), delta)
    assert exact <= bound.prv <= exact + 0.025
    assert exact <= bound.pld <= 1.002 * exact
    assert exact <= bound.rdp <= 1.25 * exact


@pytest.mark.parametrize(
    ("noise", "steps", "delta"),
    [
        pytest.param(745.4, 50_000, 1e-11, id="PRV would be 0.1 % too small"),
        pytest.param(100.0, 10_000, 1e-12, id="PLD would be 0.4 % too small"),
        pytest.param(300.0, 100_000, 1e-10, id="PRV would be 0.1 % too small, and is given"),
        pytest.param(100.0, 10_000, 1e-11, id="both are given"),
    ],
)
def test_where_floating_point_loses_a_part_of_a_small_delta_no_bound_is_below_the_closed_form(noise, steps, delta):
    exact = exact_gaussian(noise, steps, delta)
    bound = epsilon((GaussianEvent(noise, 1.0, steps),), delta)
    assert exact <= bound.tightest <= 1.1 * exact
    lost = 2**-51 * steps > delta / 2
    assert (bound.prv is None, bound.pld is None) == (lost, lost)


def test_the_closed_form_itself_is_that_of_the_textbook_figure():
    # A sensitivity-1 Gaussian of deviation 1 is 1-GDP: delta(1) = Phi(-0.5) - e Phi(-1.5) = 0.12693673750664.
    assert exact_gaussian(1.0, 1, 0.12693673750664) == pytest.approx(1.0, abs=1e-9)


@pytest.mark.parametrize("steps", [1, 10, 500])
def test_sampling_makes_every_number_of_steps_cheaper(steps):
    whole, sampled = (epsilon_rdp((GaussianEvent(2.0, rate, steps),), DELTA) for rate in (1.0, 0.1))
    assert sampled < 0.6 * whole


def test_nothing_costs_nothing():
    assert epsilon((), DELTA) == EpsilonBound(0.0, 0.0, 0.0)
    assert epsilon((GaussianEvent(1.0, 0.1, 0),), DELTA) == EpsilonBound(0.0, 0.0, 0.0)


def test_no_noise_costs_everything_however_little_it_is_sampled():
    bound = epsilon((GaussianEvent(0.0, 1e-6, 1),), DELTA)
    assert bound == EpsilonBound(math.inf, None, None)
    assert bound.tightest == math.inf


@pytest.mark.parametrize("noise", [1e-300, 1e-9, math.nan])
def test_noise_too_small_for_the_formulas_counts_as_none(noise):
    assert epsilon_rdp((GaussianEvent(noise, 0.1, 1),), DELTA) == math.inf


@pytest.mark.parametrize("noise", [1e5, 1e200, math.inf])
def test_noise_too_large_for_the_formulas_counts_as_the_largest_that_is_not(noise):
    found = epsilon((GaussianEvent(noise, 0.1, 5),), DELTA)
    assert found == epsilon((GaussianEvent(1e4, 0.1, 5),), DELTA)
    assert 0 < found.rdp < 0.01


def test_where_composing_takes_minutes_only_rdp_is_given():
    bound = epsilon((GaussianEvent(300.0, 0.01, 60_000), GaussianEvent(400.0, 0.01, 40_001)), DELTA)
    assert (bound.prv, bound.pld, bound.tightest) == (None, None, bound.rdp)


def test_where_one_step_is_nearly_free_of_noise_only_rdp_is_given():
    bound = epsilon((GaussianEvent(0.39, 0.01, 10),), DELTA)
    assert (bound.prv, bound.pld) == (None, None)
    assert bound.tightest == bound.rdp < math.inf
    assert epsilon((GaussianEvent(0.4, 0.01, 10),), DELTA).prv < bound.rdp


def test_a_numerical_failure_leaves_the_other_bounds(monkeypatch):
    def fails(*arguments, **options):
        raise ValueError

    events = (GaussianEvent(1.23456, 0.1, 10),)
    monkeypatch.setattr(PRVAccountant, "get_epsilon", fails)
    monkeypatch.setattr(privacy_loss_distribution, "from_gaussian_mechanism", fails)
    assert epsilon(events, DELTA) == EpsilonBound(epsilon_rdp(events, DELTA))


@pytest.mark.parametrize("delta", [0.0, 1.0, -1e-5, 2.0, math.nan])
def test_a_delta_that_is_no_probability_is_refused(delta):
    for call in (epsilon, epsilon_rdp):
        with pytest.raises(InputError) as caught:
            call((), delta)
        assert caught.value.reason == "bad-delta"


noises = st.floats(0.5, 50.0)
rates = st.one_of(st.just(1.0), st.floats(0.001, 0.3))
steps = st.integers(1, 2000)
deltas = st.floats(1e-9, 1e-2)
# Two ways to the same sum differ in the last bits.
ROUNDING = 1e-9


@settings(max_examples=12, deadline=None)
@given(noises, rates, steps, deltas, st.floats(1.0, 3.0))
def test_epsilon_falls_with_noise_and_delta_and_rises_with_steps_and_sampling(noise, rate, count, delta, factor):
    def cost(noise=noise, rate=rate, count=count, delta=delta):
        return epsilon_rdp((GaussianEvent(noise, rate, count),), delta)

    base = cost() * (1 + ROUNDING) + ROUNDING
    assert cost(noise=noise * factor) <= base
    assert cost(delta=min(0.5, delta * factor)) <= base
    assert cost(count=math.ceil(count * factor)) >= cost() * (1 - ROUNDING)
    assert cost(rate=min(1.0, rate * factor)) >= cost() * (1 - ROUNDING) - ROUNDING


@settings(max_examples=12, deadline=None)
@given(noises, rates, st.integers(0, 500), st.integers(0, 500), deltas)
def test_steps_compose_the_same_however_they_are_listed(noise, rate, first, second, delta):
    parts = (GaussianEvent(noise, rate, first), GaussianEvent(noise, rate, second))
    assert epsilon_rdp(parts, delta) == epsilon_rdp((GaussianEvent(noise, rate, first + second),), delta)


@settings(max_examples=12, deadline=None)
@given(noises, rates, steps, noises, rates, steps, deltas)
def test_two_runs_cost_more_than_either_and_no_more_than_both_at_half_the_delta(n1, q1, s1, n2, q2, s2, delta):
    first, second = GaussianEvent(n1, q1, s1), GaussianEvent(n2, q2, s2)
    together = epsilon_rdp((first, second), delta)
    assert together == epsilon_rdp((second, first), delta)
    alone = [epsilon_rdp((event,), delta) for event in (first, second)]
    assert together >= max(alone) * (1 - ROUNDING)
    at_half = [epsilon_rdp((event,), delta / 2) for event in (first, second)]
    # Basic composition, with an allowance for the grid of orders: the optimum of the sum lies between its parts'.
    assert together <= 1.05 * sum(at_half) + 0.01
