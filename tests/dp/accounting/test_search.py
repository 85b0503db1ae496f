"""The noise for an epsilon: enough, and no more than the grid makes necessary."""

from __future__ import annotations

import math

import msgspec
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from dp.accounting import epsilon_rdp, noise_multiplier_for, smallest_multiplier
from dp.events import GaussianEvent, IntegerEvent
from secagg.errors import InputError

DELTA = 1e-5
MNIST = 256 / 60_000


@pytest.mark.parametrize("target", [0.1, 3.0, 100.0])
@pytest.mark.parametrize(("rate", "count"), [(0.05, 300), (0.5, 100), (1.0, 20), (MNIST, 14_062)])
def test_the_noise_found_is_enough_and_one_step_of_the_grid_less_is_not(target, rate, count):
    noise = noise_multiplier_for(target, DELTA, rate, count)
    assert noise == round(noise, 4)
    assert epsilon_rdp((GaussianEvent(noise, rate, count),), DELTA) <= target
    assert epsilon_rdp((GaussianEvent(noise - 1e-4, rate, count),), DELTA) > target


@settings(max_examples=5, deadline=None)
@given(st.floats(0.3, 20.0), st.floats(0.01, 1.0), st.integers(1, 500))
def test_no_target_is_ever_missed(target, rate, count):
    noise = noise_multiplier_for(target, DELTA, rate, count)
    assume(noise > 1e-4)
    assert epsilon_rdp((GaussianEvent(noise, rate, count),), DELTA) <= target
    assert epsilon_rdp((GaussianEvent(noise - 1e-4, rate, count),), DELTA) > target


@pytest.mark.parametrize("target", [0.0, -1.0, 1e-4, math.nan])
def test_a_target_that_no_noise_reaches_is_refused_with_a_remedy(target):
    with pytest.raises(InputError) as caught:
        noise_multiplier_for(target, DELTA, 0.1, 1000)
    assert caught.value.reason == "unreachable-epsilon"
    assert "1000 steps" in caught.value.message
    assert "epsilon" in caught.value.remedy


@pytest.mark.parametrize("delta", [0.0, 1.0, -1e-5, 2.0, math.nan])
def test_a_delta_that_is_no_probability_is_refused(delta):
    with pytest.raises(InputError) as caught:
        noise_multiplier_for(1.0, delta, 0.1, 10)
    assert caught.value.reason == "bad-delta"


# --- Any events ----------------------------------------------------------------------------------------------

PATIENT = IntegerEvent(
    noise="skellam", variance=0, l1=120_000, l2=1000, dimension=15_000, shares=30, sampling_rate=0.05, steps=300
)


def integer_events(multiplier, **changes):
    return (msgspec.structs.replace(PATIENT, variance=(multiplier * PATIENT.l2) ** 2, **changes),)


@pytest.mark.parametrize("target", [0.5, 3.0, 8.0])
@pytest.mark.parametrize("noise", ["skellam", "discrete-gaussian"])
def test_the_noise_for_events_of_any_kind_is_enough_and_one_step_of_the_grid_less_is_not(target, noise):
    found = smallest_multiplier(target, DELTA, lambda multiplier: integer_events(multiplier, noise=noise))
    assert found == round(found, 4)
    assert epsilon_rdp(integer_events(found, noise=noise), DELTA) <= target
    assert epsilon_rdp(integer_events(found - 1e-4, noise=noise), DELTA) > target


def test_integer_noise_on_a_fine_grid_takes_hardly_more_than_gaussian_noise():
    gaussian = noise_multiplier_for(3.0, DELTA, PATIENT.sampling_rate, PATIENT.steps)
    assert gaussian <= smallest_multiplier(3.0, DELTA, integer_events) <= 1.002 * gaussian


def test_events_of_several_kinds_share_the_budget():
    def cost(noise):
        return (*integer_events(noise), GaussianEvent(2 * noise, 1.0, 5))

    found = smallest_multiplier(3.0, DELTA, cost)
    assert found > smallest_multiplier(3.0, DELTA, integer_events)
    assert epsilon_rdp(cost(found), DELTA) <= 3.0 < epsilon_rdp(cost(found - 1e-4), DELTA)


def test_no_more_noise_is_tried_than_twice_what_is_enough():
    tried = []

    def cost(noise):
        tried.append(noise)
        return integer_events(noise)

    found = smallest_multiplier(1.0, DELTA, cost)
    assert max(tried) <= 2 * found


def test_what_the_caller_cannot_turn_into_events_is_passed_on():
    def cost(noise):
        raise InputError("too-much-noise", "It does not fit.")

    with pytest.raises(InputError) as caught:
        smallest_multiplier(1.0, DELTA, cost)
    assert caught.value.reason == "too-much-noise"
