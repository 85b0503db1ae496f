"""The bound of the one-run audit: against exact tails, a closed form, and mechanisms whose privacy is known."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

from dp.auditing import epsilon_lower_bound, p_value
from secagg.errors import InputError


def accuracy(epsilon: float) -> float:
    return math.exp(epsilon) / (1 + math.exp(epsilon))


def weights(guesses: int, right: float) -> list[float]:
    """P(W = v) of a Binomial variable, from its definition and in fractions."""
    chance = Fraction(right)
    return [float(math.comb(guesses, v) * chance**v * (1 - chance) ** (guesses - v)) for v in range(guesses + 1)]


def tails(probabilities: list[float]) -> list[float]:
    """P(W >= v) for each v."""
    return [math.fsum(probabilities[v:]) for v in range(len(probabilities))]


@pytest.mark.parametrize("epsilon", [0.0, 0.7, 3.0])
def test_without_delta_it_is_the_tail_of_randomised_response(epsilon):
    exact = tails(weights(30, accuracy(epsilon)))
    assert [p_value(100, 30, v, epsilon, 0.0) for v in range(31)] == pytest.approx(exact, abs=1e-12)


@pytest.mark.parametrize("guesses", [1, 20, 1000])
def test_where_all_guesses_are_right_the_bound_has_a_closed_form(guesses):
    right = 0.05 ** (1 / guesses)
    expected = max(0.0, math.log(right / (1 - right)))
    assert epsilon_lower_bound(guesses, guesses, guesses, 0.0, 0.95) == pytest.approx(expected, abs=1e-5)


def test_the_term_of_delta_is_that_of_the_paper():
    canaries, guesses, right, epsilon, delta = 200, 40, 33, 0.9, 1e-4
    mass = weights(guesses, accuracy(epsilon))
    # Theorem 5.2: alpha = max over i of (2 / i) P(v > W >= v - i), added m delta times.
    alpha = max(2 / i * math.fsum(mass[right - i : right]) for i in range(1, right + 1))
    expected = math.fsum(mass[right:]) + alpha * canaries * delta
    assert p_value(canaries, guesses, right, epsilon, delta) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("together", [True, False], ids=["all canaries at once", "each by itself"])
@pytest.mark.parametrize("epsilon", [0.0, 1.0])
def test_no_mechanism_that_shows_its_canaries_with_probability_delta_does_better_than_the_p_value(together, epsilon):
    canaries, delta = 60, 0.004
    honest = accuracy(epsilon)
    if together:
        probabilities = [(1 - delta) * weight for weight in weights(canaries, honest)]
        probabilities[-1] += delta
    else:
        probabilities = weights(canaries, delta + (1 - delta) * honest)
    allowed = [p_value(canaries, canaries, v, epsilon, delta) for v in range(canaries + 1)]
    assert all(chance <= limit + 1e-12 for chance, limit in zip(tails(probabilities), allowed, strict=True))
    without = [p_value(canaries, canaries, v, epsilon, 0.0) for v in range(canaries + 1)]
    assert any(chance > limit for chance, limit in zip(tails(probabilities), without, strict=True))


def test_of_randomised_response_the_bound_is_too_high_as_seldom_as_it_says_and_hardly_less():
    epsilon, guesses = 1.5, 400
    right = np.random.default_rng(5).binomial(guesses, accuracy(epsilon), 4000)
    bounds = {v: epsilon_lower_bound(1000, guesses, v, 0.0, 0.95) for v in np.unique(right).tolist()}
    too_high = np.mean([bounds[v] > epsilon for v in right.tolist()])
    assert 0.03 < too_high <= 0.055
    assert 1.2 < np.median([bounds[v] for v in right.tolist()]) < 1.5


def test_more_right_guesses_and_less_delta_never_lower_the_bound():
    for delta in (0.0, 1e-5, 1e-3):
        bounds = [epsilon_lower_bound(500, 100, v, delta, 0.95) for v in range(0, 101, 4)]
        assert bounds == sorted(bounds)
    by_delta = [epsilon_lower_bound(500, 100, 96, delta, 0.95) for delta in (0.0, 1e-6, 1e-5, 1e-4, 0.1)]
    assert by_delta == sorted(by_delta, reverse=True)
    assert by_delta[-1] == 0


def test_half_of_all_guesses_right_says_nothing():
    assert epsilon_lower_bound(1000, 100, 50, 1e-5, 0.95) == 0
    assert epsilon_lower_bound(1000, 0, 0, 1e-5, 0.95) == 0


@pytest.mark.parametrize(
    ("canaries", "guesses", "right", "delta"), [(10, 11, 3, 0.0), (10, 5, 6, 0.0), (10, 5, -1, 0.0), (10, 5, 5, 1.5)]
)
def test_guesses_that_cannot_be_are_refused(canaries, guesses, right, delta):
    with pytest.raises(InputError) as caught:
        p_value(canaries, guesses, right, 1.0, delta)
    assert caught.value.reason == "bad-guesses"


@pytest.mark.parametrize("confidence", [0.0, 1.0, math.nan])
def test_a_confidence_that_is_none_is_refused(confidence):
    with pytest.raises(InputError) as caught:
        epsilon_lower_bound(10, 5, 5, 0.0, confidence)
    assert caught.value.reason == "bad-confidence"
