"""That one patient is exchanged for another is never told as cheaper than it is."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import chi2, norm

from dp.accounting import epsilon_of_exchange, epsilon_rdp
from dp.events import GaussianEvent

DELTA = 1e-5


def presence(event: GaussianEvent):
    return lambda delta: epsilon_rdp((event,), delta)


def delta_without_sampling(epsilon: float, noise_multiplier: float, steps: int) -> float:
    """By how much two Gaussians two clip norms apart differ beyond ``epsilon`` (Balle and Wang 2018, theorem 8)."""
    apart = 2 * steps**0.5 / noise_multiplier
    ends = (apart / 2 - epsilon / apart, -apart / 2 - epsilon / apart)
    return float(norm.cdf(ends[0]) - math.exp(epsilon) * norm.cdf(ends[1]))


def delta_of_one_step(epsilon: float, noise_multiplier: float, sampling_rate: float) -> float:
    """The same of one step on a sample, by summing: one patient pulls one way, the other the other way."""
    places = np.linspace(-30, 30, 600_001) * noise_multiplier

    def mixture(pull: float):
        there, gone = (norm.pdf(places, mean, noise_multiplier) for mean in (pull, 0.0))
        return sampling_rate * there + (1 - sampling_rate) * gone

    beyond = np.maximum(0, mixture(1.0) - math.exp(epsilon) * mixture(-1.0))
    return float(beyond.sum() * (places[1] - places[0]))


@pytest.mark.parametrize(("noise_multiplier", "steps"), [(6.6779, 20), (2.0, 5), (18.0, 20), (0.9, 1)])
def test_two_who_pull_apart_in_every_step_are_told_apart_no_better_than_is_said(noise_multiplier, steps):
    event = GaussianEvent(noise_multiplier, 1.0, steps)
    assert delta_without_sampling(epsilon_of_exchange(presence(event), DELTA), noise_multiplier, steps) <= DELTA


@pytest.mark.parametrize(("noise_multiplier", "sampling_rate"), [(0.6, 0.3), (0.8, 0.05), (1.5, 0.6)])
def test_two_who_pull_apart_where_they_are_drawn_are_told_apart_no_better_than_is_said(noise_multiplier, sampling_rate):
    event = GaussianEvent(noise_multiplier, sampling_rate, 1)
    exchanged = epsilon_of_exchange(presence(event), DELTA)
    assert delta_of_one_step(exchanged, noise_multiplier, sampling_rate) <= DELTA


def test_where_no_float_is_left_of_a_part_of_delta_no_finite_epsilon_is_told():
    assert epsilon_of_exchange(presence(GaussianEvent(0.05, 1.0, 1)), 1e-100) == math.inf
    assert epsilon_of_exchange(presence(GaussianEvent(0.1, 1.0, 1)), 1e-100) < 1200


def test_control_the_epsilon_of_one_patients_presence_does_not_hold_for_an_exchange():
    alone = presence(GaussianEvent(6.6779, 1.0, 20))(DELTA)
    assert delta_without_sampling(alone, 6.6779, 20) > 100 * DELTA


def delta_by_the_scale_of_noise(epsilon: float, patients: int, numbers: int) -> float:
    """By how much Gaussian noise over ``patients`` differs beyond ``epsilon`` from the same over one patient fewer.

    The likelihood ratio of independent Gaussians of two deviations depends on the sum of their squares alone.
    """
    thresholds = np.linspace(0.8, 1.3, 20_001) * numbers
    fewer = chi2.sf(thresholds * ((patients - 1) / patients) ** 2, numbers)
    return float(np.max(fewer - math.exp(epsilon) * chi2.sf(thresholds, numbers)))


@pytest.mark.parametrize(("parameters", "true"), [(1_000, 23), (15_000, 170)])
def test_control_in_local_mode_one_who_trains_is_told_from_one_who_is_held_back_by_the_scale_of_the_noise(
    parameters, true
):
    """What is not promised. A sum of noise is divided by the training patients: 118 if it is the one, else 117."""
    noise_multiplier, steps = 1.7962, 100
    stated = epsilon_of_exchange(presence(GaussianEvent(noise_multiplier, 0.1, steps)), DELTA)
    assert stated == pytest.approx(7.2, abs=0.01)
    assert delta_by_the_scale_of_noise(stated, 118, parameters * steps) > 0.4
    assert delta_by_the_scale_of_noise(true, 118, parameters * steps) >= DELTA


def test_it_is_twice_an_epsilon_at_a_smaller_delta_and_nothing_where_nothing_is_spent():
    cost = presence(GaussianEvent(2.0, 0.2, 50))
    half = epsilon_of_exchange(cost, DELTA) / 2
    assert cost(DELTA / (1 + math.exp(half))) == pytest.approx(half)
    assert epsilon_of_exchange(lambda delta: epsilon_rdp((), delta), DELTA) == 0


def test_what_is_found_is_enough_and_not_nearly():
    assert epsilon_of_exchange(lambda delta: 0.7, DELTA) >= 2 * 0.7


def test_of_a_patient_who_is_hardly_hidden_no_limit_is_told():
    assert epsilon_of_exchange(presence(GaussianEvent(0.01, 1.0, 10)), DELTA) == math.inf
