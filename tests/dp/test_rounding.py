"""Rounding keeps the mean, and no vector comes out longer than the sensitivity that is accounted for."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dp.randomness import secure_generator
from dp.rounding import l1_norm_bound, round_rows, rounded_norm
from secagg.errors import LocalProtocolError

KEY = bytes(16)


def vectors(count, dimension, norm, seed=0):
    rows = np.random.default_rng(seed).normal(size=(count, dimension))
    return rows * (norm / np.linalg.norm(rows, axis=1, keepdims=True))


@given(st.integers(1, 300), st.floats(1.0, 5000.0), st.integers(0, 1000))
@settings(max_examples=60, deadline=None)
def test_no_vector_is_longer_than_the_bound_and_no_coordinate_moves_by_a_step(dimension, norm, seed):
    rows = vectors(5, dimension, norm, seed)
    rounded = round_rows(rows, norm, secure_generator(KEY))
    assert (rounded == np.rint(rounded)).all()
    assert (np.linalg.norm(rounded, axis=1) <= rounded_norm(norm, dimension) + 1e-9).all()
    assert (np.abs(rounded).sum(axis=1) <= l1_norm_bound(rounded_norm(norm, dimension), dimension) + 1e-9).all()
    assert (np.abs(rounded - rows) <= 1).all()


def test_the_mean_of_many_roundings_is_the_vector():
    row = vectors(1, 50, 20.0)
    rounded = round_rows(np.repeat(row, 20_000, axis=0), 20.0, secure_generator(KEY))
    assert np.abs(rounded.mean(axis=0) - row).max() < 0.02


def test_so_is_that_of_a_number_that_single_precision_would_cut_short():
    rounded = round_rows(np.full((40_000, 1), 1_000_000.47), 1_000_001.0, secure_generator(KEY))
    assert rounded.mean() == pytest.approx(1_000_000.47, abs=0.01)


class HighDither:
    """The worst of dice: everything is rounded up, the first so many times."""

    def __init__(self, times):
        self.times = times

    def integers(self, low, high, size, dtype, endpoint):
        self.times -= 1
        return np.full(size, high if self.times >= 0 else low, dtype)


def test_a_vector_that_came_out_too_long_is_rounded_again():
    row = np.full((2, 400), 0.01)
    generator = HighDither(3)
    assert not round_rows(row, 0.2, generator).any()
    assert generator.times < 0


def test_a_vector_that_was_too_long_before_is_refused():
    with pytest.raises(LocalProtocolError) as caught:
        round_rows(vectors(1, 100, 200.0), 50.0, secure_generator(KEY))
    assert caught.value.reason == "rounding-failed"


def test_a_limit_that_is_no_number_is_kept_by_no_vector():
    with pytest.raises(LocalProtocolError) as caught:
        round_rows(vectors(1, 10, 5.0), math.nan, secure_generator(KEY))
    assert caught.value.reason == "rounding-failed"


def test_the_bound_is_the_smaller_of_the_certain_and_the_likely_one():
    assert rounded_norm(10.0, 1) == pytest.approx(11.0)
    dimension, norm = 14_913, 818.0
    likely = norm**2 + dimension / 4 + math.sqrt(2 * 12 * math.log(2)) * (norm + math.sqrt(dimension) / 2)
    assert rounded_norm(norm, dimension) == pytest.approx(math.sqrt(likely))
    assert rounded_norm(norm, dimension) < norm + math.sqrt(dimension)


def test_a_whole_number_that_is_not_zero_is_one_at_least_which_bounds_the_l1_norm_of_short_vectors():
    assert l1_norm_bound(2.0, 100) == 4.0
    assert l1_norm_bound(10.0, 9) == 30.0


def test_fewer_than_one_in_a_thousand_is_rounded_again():
    rows = vectors(4000, 300, 30.0)
    once = np.floor(rows + np.random.default_rng(1).random(rows.shape))
    assert (np.linalg.norm(once, axis=1) > rounded_norm(30.0, 300)).mean() < 1e-3


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_row_that_is_not_finite_counts_as_nothing(value):
    rows = vectors(3, 10, 5.0)
    rows[1, 4] = value
    rounded = round_rows(rows, 5.0, secure_generator(KEY))
    assert not rounded[1].any()
    assert rounded[0].any()
    assert rounded[2].any()
