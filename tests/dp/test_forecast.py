"""A run's price after any of its rounds is what the run will be charged."""

from __future__ import annotations

import pytest

from dp.accounting import epsilon, epsilon_of_runs
from dp.events import GaussianEvent, IntegerEvent
from dp.forecast import forecast, forecast_pld, forecast_rdp, forecast_reference, quarters
from dp.plan import PrivacyPlan

PLAN = PrivacyPlan(
    mode="local",
    noise_multiplier=4.0,
    clip_norm=1.0,
    sampling_rate=1.0,
    delta=1e-5,
    rounds=10,
    steps_per_round=2,
    metric_noise_multiplier=20.0,
)


class IntegerPlan:
    rounds, delta = 10, 1e-5

    def training_events(self, rounds):
        step = IntegerEvent(
            noise="skellam", variance=1e6, l1=3600, l2=250, dimension=900, shares=3, sampling_rate=1, steps=2 * rounds
        )
        return (step,)

    def metric_events(self, releases):
        return (GaussianEvent(20.0, 1.0, releases),)

    def releases(self, steps):
        return steps // 5


@pytest.mark.parametrize(
    ("rounds", "expected"), [(1, (1,)), (2, (1, 2)), (4, (1, 2, 3, 4)), (300, (75, 150, 225, 300)), (5, (2, 3, 4, 5))]
)
def test_quarters_are_rounded_up_and_told_once(rounds, expected):
    assert quarters(rounds) == expected


def test_the_price_is_what_the_ledger_counts_and_the_dearer_group_by_the_others():
    bound = forecast(PLAN, 10)
    training, metrics = PLAN.training_events(10), PLAN.metric_events(10)
    assert bound.rdp == forecast_rdp(PLAN, 10) == epsilon_of_runs([(training, metrics)], PLAN.delta)
    assert bound.rdp == PLAN.epsilon_after(10)
    assert (bound.prv, bound.pld) == (epsilon(training, PLAN.delta).prv, epsilon(training, PLAN.delta).pld)
    assert forecast_pld(PLAN, 10) == bound.pld
    assert (bound.gaussian_reference, forecast_reference(PLAN, 10)) == (None, None)


def test_nothing_has_been_spent_before_the_first_round():
    assert forecast(PLAN, 0).tightest == 0
    assert forecast_pld(PLAN, 0) == 0


def test_with_integer_noise_there_is_one_bound_and_a_reference():
    bound = forecast(IntegerPlan(), 10)
    assert (bound.prv, bound.pld, forecast_pld(IntegerPlan(), 10)) == (None, None, None)
    # Two steps a round with the noise multiplier 4, as in the plan above.
    assert bound.gaussian_reference == forecast(PLAN, 10).tightest
    assert forecast_reference(IntegerPlan(), 10) == pytest.approx(bound.gaussian_reference)
    assert bound.tightest == bound.rdp


def test_counts_cost_what_their_releases_cost_and_not_what_as_many_rounds_would():
    assert forecast_rdp(IntegerPlan(), 10) == epsilon_of_runs(
        [(IntegerPlan().training_events(10), (GaussianEvent(20.0, 1.0, 2),))], IntegerPlan.delta
    )
