"""One plan, from which no two parts can draw different conclusions."""

from __future__ import annotations

import math

import pytest

from dp.accounting import epsilon_rdp
from dp.events import GaussianEvent
from dp.plan import PrivacyPlan
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


@pytest.mark.parametrize(("metric_noise", "dearer"), [(100.0, "training"), (2.0, "metrics")])
def test_epsilon_is_that_of_the_dearer_track(metric_noise, dearer):
    plan = PrivacyPlan(**SOUND | {"metric_noise_multiplier": metric_noise})
    training = epsilon_rdp(plan.training_events(10), 1e-5)
    metrics = epsilon_rdp(plan.metric_events(10), 1e-5)
    assert (training > metrics) == (dearer == "training")
    assert plan.epsilon_after(10) == max(training, metrics)


def test_a_plan_cannot_be_changed():
    with pytest.raises(AttributeError):
        PrivacyPlan(**SOUND).noise_multiplier = 0.1
