"""A run's price after any of its rounds is what the run will be charged."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dp.accounting import epsilon, epsilon_of_runs
from dp.forecast import forecast, forecast_pld, forecast_reference, quarters
from dp.plan import PrivacyPlan
from dp.shares import Cohort, NoiseShares

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


SHARES = NoiseShares(
    cohort=Cohort(hospitals=5, threshold=4, colluding=1),
    noise="skellam",
    field_bits=32,
    noise_multiplier=PLAN.noise_multiplier,
    clip_norm=1.0,
    most_patients=256,
    dimension=900,
    cells=8,
    metric_noise_multiplier=PLAN.metric_noise_multiplier,
)
SHARED = replace(PLAN, mode="distributed", metric_every=5, shares=SHARES)


@pytest.mark.parametrize(
    ("rounds", "expected"), [(1, (1,)), (2, (1, 2)), (4, (1, 2, 3, 4)), (300, (75, 150, 225, 300)), (5, (2, 3, 4, 5))]
)
def test_quarters_are_rounded_up_and_told_once(rounds, expected):
    assert quarters(rounds) == expected


def test_the_price_is_what_the_ledger_counts_and_the_dearer_group_by_the_others():
    bound = forecast(PLAN, 10)
    training, metrics = PLAN.training_events(10), PLAN.metric_events(10)
    assert bound.rdp == PLAN.epsilon_after(10) == epsilon_of_runs([(training, metrics)], PLAN.delta)
    assert (bound.prv, bound.pld) == (epsilon(training, PLAN.delta).prv, epsilon(training, PLAN.delta).pld)
    assert forecast_pld(PLAN, 10) == bound.pld
    assert (bound.gaussian_reference, forecast_reference(PLAN, 10)) == (None, None)


def test_nothing_has_been_spent_before_the_first_round():
    assert forecast(PLAN, 0).tightest == 0
    assert forecast_pld(PLAN, 0) == 0


def test_with_integer_noise_there_is_one_bound_and_a_reference():
    bound = forecast(SHARED, 10)
    assert (bound.prv, bound.pld, forecast_pld(SHARED, 10)) == (None, None, None)
    # Of the same noise multiplier.
    assert bound.gaussian_reference == pytest.approx(forecast(PLAN, 10).tightest)
    assert forecast_reference(SHARED, 10) == pytest.approx(bound.gaussian_reference)
    assert bound.tightest == bound.rdp


def test_counts_cost_what_their_releases_cost_and_not_what_as_many_rounds_would():
    counts_alone = replace(PLAN, noise_multiplier=1000.0, metric_every=5)
    (two_releases,) = counts_alone.metric_events(2)
    assert forecast(counts_alone, 10).pld == epsilon([two_releases], PLAN.delta).pld
