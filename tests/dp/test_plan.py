"""One plan, from which no two parts can draw different conclusions."""

from __future__ import annotations

import math
from dataclasses import replace

import msgspec
import numpy as np
import pytest
from scipy import special, stats

from dp.accounting import epsilon_rdp
from dp.events import GaussianEvent, at_times_the_sensitivity
from dp.ledger import Cost
from dp.ledger.spending import cost_epsilon
from dp.plan import PrivacyPlan
from dp.shares import Cohort, NoiseShares
from secagg.errors import InputError

SOUND = {
    "mode": "local",
    "noise_multiplier": 1.2,
    "clip_norm": 0.5,
    "sampling_rate": 0.1,
    "delta": 1e-5,
    "rounds": 10,
    "steps_per_round": 3,
    "metric_noise_multiplier": 20.0,
}


@pytest.mark.parametrize(
    "change",
    [
        {"noise_multiplier": 0.0},
        {"noise_multiplier": -1.0},
        {"noise_multiplier": math.inf},
        {"noise_multiplier": math.nan},
        {"clip_norm": 0.0},
        {"clip_norm": -1.0},
        {"clip_norm": math.inf},
        {"clip_norm": math.nan},
        {"sampling_rate": 0.0},
        {"sampling_rate": 1.1},
        {"sampling_rate": math.nan},
        {"delta": 0.0},
        {"delta": 1.0},
        {"delta": math.nan},
        {"rounds": 0},
        {"steps_per_round": 0},
        {"metric_noise_multiplier": -0.1},
        {"metric_noise_multiplier": math.nan},
        {"metric_noise_multiplier": math.inf},
        {"metric_every": 0},
        {"mode": "distributed"},
        {
            "shares": NoiseShares(
                cohort=Cohort(hospitals=3, threshold=3, colluding=1),
                noise="skellam",
                field_bits=32,
                noise_multiplier=1.2,
                clip_norm=0.5,
                most_patients=8,
                dimension=10,
            )
        },
    ],
    ids=lambda change: "{}={}".format(*next(iter(change.items()))),
)
def test_parameters_that_contradict_each_other_are_refused(change):
    PrivacyPlan(**SOUND)
    with pytest.raises(InputError) as caught:
        PrivacyPlan(**SOUND | change)
    assert caught.value.reason == "bad-privacy-plan"


def test_without_privacy_no_noise_is_needed_and_no_training_is_charged():
    plan = PrivacyPlan(**SOUND | {"mode": "none", "noise_multiplier": 0.0, "metric_noise_multiplier": 0.0})
    assert (plan.training_events(10), plan.metric_events(10), plan.epsilon_after(10)) == ((), (), 0.0)


def test_the_events_are_the_steps_and_counts_of_the_rounds():
    plan = PrivacyPlan(**SOUND)
    assert plan.training_events(7) == (GaussianEvent(1.2, 0.1, 21),)
    assert plan.metric_events(7) == (GaussianEvent(20.0, 1.0, 7),)
    assert (plan.training_events(0), plan.metric_events(0), plan.epsilon_after(0)) == ((), (), 0.0)


@pytest.mark.parametrize("every", [1, 3, 4, 12, 30])
def test_as_many_releases_of_counts_are_charged_as_sums_carry_them_the_last_among_them(every):
    plan = PrivacyPlan(**SOUND | {"rounds": 12, "metric_every": every})
    for sums in range(13):
        assert plan.releases(sums) == sum(map(plan.releases_counts, range(1, sums + 1)))
    assert plan.releases_counts(12)


def test_a_round_without_a_sum_may_have_released_counts_whichever_it_was():
    plan = PrivacyPlan(**SOUND | {"metric_every": 4, "noise_multiplier": 1e3})
    assert (plan.most_releases(10), plan.most_releases(12, 9), plan.most_releases(5, 0)) == (3, 2 + 3, 5)
    assert plan.epsilon_after(12, 9) == epsilon_rdp(plan.metric_events(5), plan.delta) > plan.epsilon_after(12)


@pytest.mark.parametrize(("metric_noise", "dearer"), [(100.0, "training"), (2.0, "metrics")])
def test_epsilon_is_that_of_the_dearer_track(metric_noise, dearer):
    plan = PrivacyPlan(**SOUND | {"metric_noise_multiplier": metric_noise})
    training = epsilon_rdp(plan.training_events(10), 1e-5)
    metrics = epsilon_rdp(plan.metric_events(10), 1e-5)
    assert (training > metrics) == (dearer == "training")
    assert plan.epsilon_after(10) == max(training, metrics)


def test_where_neither_track_is_dearer_at_every_order_epsilon_is_what_the_ledger_counts_and_above_both():
    noise = {"noise_multiplier": 1.0, "sampling_rate": 0.01, "metric_noise_multiplier": 5.0}
    plan = PrivacyPlan(**SOUND | noise | {"rounds": 20, "steps_per_round": 10, "metric_every": 5})
    training, metrics = plan.training_events(20), plan.metric_events(plan.releases(20))
    assert plan.epsilon_after(20) == cost_epsilon(Cost(training, metrics), plan.delta)
    assert plan.epsilon_after(20) > 1.03 * max(epsilon_rdp(training, 1e-5), epsilon_rdp(metrics, 1e-5))
    assert plan.epsilon_after(20) == pytest.approx(1.749, abs=1e-3)


def test_a_plan_cannot_be_changed():
    with pytest.raises(AttributeError):
        PrivacyPlan(**SOUND).noise_multiplier = 0.1


# A patient of two hospitals

DISTRIBUTED = NoiseShares(
    cohort=Cohort(hospitals=5, threshold=4, colluding=1),
    noise="skellam",
    field_bits=32,
    noise_multiplier=1.561,
    clip_norm=1.0,
    most_patients=256,
    dimension=1000,
    cells=32,
    metric_noise_multiplier=40.0,
)


def distributed(noise_multiplier, sampling_rate, rounds, **changes):
    shares = replace(DISTRIBUTED, noise_multiplier=noise_multiplier, metric_noise_multiplier=40.0)
    return PrivacyPlan(
        mode="distributed",
        noise_multiplier=noise_multiplier,
        clip_norm=1.0,
        sampling_rate=sampling_rate,
        delta=1e-5,
        rounds=rounds,
        steps_per_round=1,
        shares=shares,
        **changes,
    )


@pytest.mark.parametrize(
    ("noise_multiplier", "sampling_rate", "rounds", "together"), [(6.69, 1.0, 20, 6.7), (1.562, 0.05, 300, 11.2)]
)
def test_two_hospitals_with_one_patient_cost_more_than_the_sum_of_both(
    noise_multiplier, sampling_rate, rounds, together
):
    plan = distributed(noise_multiplier, sampling_rate, rounds)
    single, both = plan.epsilon_after(rounds), plan.epsilon_at_two_hospitals(rounds)
    assert single == pytest.approx(3.0, abs=0.02)
    assert both == pytest.approx(together, abs=0.1)
    assert both > 2 * single
    (event,) = plan.training_events(rounds)
    assert both == epsilon_rdp((msgspec.structs.replace(event, l1=2 * event.l1, l2=2 * event.l2),), plan.delta)


@pytest.mark.parametrize(
    ("noise_multiplier", "sampling_rate", "rounds", "told"),
    [
        (6.6816, 1.0, 20, (3.0, 6.7, 10.9, 15.6)),
        (3.4085, 0.3, 50, (3.0, 7.5, 13.8, 22.0)),
        (1.7967, 0.1, 100, (3.0, 9.8, 24.4, 98.2)),
        (1.5606, 0.05, 300, (3.0, 11.2, 38.3, 316.9)),
    ],
)
def test_each_hospital_more_with_one_patient_costs_more_than_the_one_before(
    noise_multiplier, sampling_rate, rounds, told
):
    """The figures of the documentation, rounded up."""
    plan = distributed(noise_multiplier, sampling_rate, rounds)
    training = plan.training_events(rounds)
    costs = [epsilon_rdp(at_times_the_sensitivity(training, hospitals), plan.delta) for hospitals in (1, 2, 3, 4)]
    assert all(stated - 0.1 < cost <= stated for stated, cost in zip(told, costs, strict=True))
    rises = np.diff([0.0, *costs])
    assert all(np.diff(rises) > 0)


def test_counts_of_such_a_patient_are_counted_too():
    plan = distributed(6.69, 1.0, 20, metric_noise_multiplier=40.0)
    training, counts = plan.training_events(20), plan.metric_events(20)
    assert plan.epsilon_at_two_hospitals(20) >= epsilon_rdp((*training, *counts), plan.delta)
    without_training = distributed(1e4, 1.0, 20, metric_noise_multiplier=40.0)
    assert without_training.epsilon_at_two_hospitals(20) > without_training.epsilon_after(20)


def test_each_step_of_a_round_counts_for_such_a_patient():
    plan = distributed(6.69, 1.0, 20)
    assert replace(plan, steps_per_round=3).epsilon_at_two_hospitals(20) == plan.epsilon_at_two_hospitals(60)


def test_where_each_hospital_adds_the_whole_noise_there_is_no_such_figure():
    assert PrivacyPlan(**SOUND).epsilon_at_two_hospitals(10) is None


@pytest.mark.parametrize("hospitals", [2, 3, 4])
@pytest.mark.parametrize("deviation", [0.5, 1.0, 2.0, 4.0])
@pytest.mark.parametrize("rate", [0.01, 0.1, 0.5, 0.9])
def test_a_patient_of_several_hospitals_costs_no_more_than_one_of_so_many_times_the_weight(hospitals, deviation, rate):
    """In numbers, of Gaussian noise: drawn for each by itself, against drawn for all at once."""
    grid, drawn = np.linspace(-60, 80, 100_001), np.arange(hospitals + 1)
    around = [stats.norm.logpdf(grid, mean, deviation) for mean in drawn]

    def mixed(weights):
        return special.logsumexp(around, axis=0, b=weights[:, None])

    def divergence(first, second, order):
        return special.logsumexp(order * first + (1 - order) * second) / (order - 1)

    apart = mixed(stats.binom.pmf(drawn, hospitals, rate))
    at_once = mixed(np.array([1 - rate, *[0.0] * (hospitals - 1), rate]))
    for order in (1.5, 2.0, 3.0, 6.0):
        worst = [max(divergence(one, around[0], order), divergence(around[0], one, order)) for one in (apart, at_once)]
        assert worst[0] <= worst[1] + 1e-9


@pytest.mark.parametrize(
    ("noise_multiplier", "sampling_rate", "rounds", "exchanged"),
    [(6.6779, 1.0, 20, 7.01), (3.4081, 0.3, 50, 7.10), (1.7962, 0.1, 100, 7.20), (1.5605, 0.05, 300, 7.16)],
)
def test_to_exchange_a_patient_costs_more_than_twice_what_it_costs_to_add_one(
    noise_multiplier, sampling_rate, rounds, exchanged
):
    """The figures of the documentation, of runs that cost epsilon 3; rounded up."""
    changes = {"noise_multiplier": noise_multiplier, "sampling_rate": sampling_rate, "rounds": rounds}
    plan = PrivacyPlan(**(SOUND | changes | {"steps_per_round": 1, "delta": 1e-5, "metric_noise_multiplier": 0.0}))
    assert plan.epsilon_after(rounds) == pytest.approx(3.0, abs=0.001)
    assert exchanged - 0.01 < plan.epsilon_of_exchange(rounds) <= exchanged


@pytest.mark.parametrize(
    ("epsilon", "noise_multiplier", "sampling_rate", "rounds", "exchanged"),
    [
        (1.0, 18.0916, 1.0, 20, 2.2),
        (1.0, 3.6795, 0.05, 300, 2.2),
        (8.0, 2.8518, 1.0, 20, 27),
        (8.0, 0.9935, 0.1, 100, 27),
    ],
)
def test_the_larger_epsilon_is_the_more_an_exchange_is_dearer(
    epsilon, noise_multiplier, sampling_rate, rounds, exchanged
):
    changes = {"noise_multiplier": noise_multiplier, "sampling_rate": sampling_rate, "rounds": rounds}
    plan = PrivacyPlan(**(SOUND | changes | {"steps_per_round": 1, "delta": 1e-5, "metric_noise_multiplier": 0.0}))
    assert plan.epsilon_after(rounds) == pytest.approx(epsilon, abs=0.01)
    assert 2 * epsilon < plan.epsilon_of_exchange(rounds) <= exchanged


def test_who_trains_may_be_exchanged_for_who_validates():
    plan = distributed(6.69, 1.0, 20, metric_noise_multiplier=40.0)
    assert plan.epsilon_of_exchange(20) > distributed(1e4, 1.0, 20).epsilon_of_exchange(20) > 0
