"""Guesses: how many, which, and of several runs."""

from __future__ import annotations

import numpy as np
import pytest

from dp.auditing import Guesses, Trial, epsilon_lower_bound, guess, guesses_in_advance, pooled
from secagg.errors import InputError


def test_the_highest_are_said_to_be_in_and_the_lowest_not_to_be():
    trial = Trial(np.array([True, True, False, False, True]), np.array([3.0, 0.1, 0.0, 2.0, -1.0]))
    assert guess(trial, 2) == Guesses(canaries=5, made=2, right=1)
    assert guess(trial, 4) == Guesses(canaries=5, made=4, right=2)
    assert guess(trial, 0) == Guesses(canaries=5, made=0, right=0)


def test_where_nothing_is_noisy_every_guess_is_right():
    inside = np.arange(100) % 2 == 0
    assert guess(Trial(inside, inside * 1.0), 100).right == 100


@pytest.mark.parametrize("canaries", [1, 50, 333, 3300, 66_000])
@pytest.mark.parametrize("claim", [0.0, 2.0, 8.0, 1e6])
def test_there_is_an_even_number_of_guesses_and_no_more_than_canaries(canaries, claim):
    count = guesses_in_advance(canaries, claim, 1e-5, 0.95)
    assert count % 2 == 0
    assert 0 <= count <= canaries


@pytest.mark.parametrize(("canaries", "claim"), [(400, 2.0), (3300, 2.2), (3300, 4.0), (66_000, 2.2), (20_000, 6.0)])
def test_there_are_as_many_as_can_refute_the_claim_if_they_are_right(canaries, claim):
    count = guesses_in_advance(canaries, claim, 1e-5, 0.95)
    assert count < canaries
    assert epsilon_lower_bound(canaries, count, count, 1e-5, 0.95) > claim


def test_of_a_claim_that_no_guesses_can_refute_all_are_made():
    assert guesses_in_advance(400, 20.0, 1e-5, 0.95) == 400


def test_runs_are_pooled_with_their_own_coins():
    trials = [Trial(np.array([True, False]), np.array([2.0, -1.0])), Trial(np.array([False]), np.array([5.0]))]
    both = pooled(trials)
    assert both.inside.tolist() == [True, False, False]
    assert both.scores.tolist() == [2.0, -1.0, 5.0]


@pytest.mark.parametrize("scores", [[1.0], [1.0, np.nan], [1.0, np.inf]])
def test_a_canary_without_a_score_is_refused(scores):
    with pytest.raises(ValueError, match="every canary"):
        Trial(np.array([True, False]), np.array(scores))


@pytest.mark.parametrize("count", [3, -2, 8])
def test_guesses_that_cannot_be_made_are_refused(count):
    with pytest.raises(InputError) as caught:
        guess(Trial(np.zeros(6, bool), np.zeros(6)), count)
    assert caught.value.reason == "bad-guesses"
