"""Poisson sampling: everybody by themselves, with one probability."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from dp.randomness import secure_generator
from dp.sampling import poisson_sample

KEY = bytes(range(16))


def test_sampled_indices_are_ascending_distinct_and_in_range():
    sample = poisson_sample(secure_generator(KEY), 1000, 0.3)
    assert sample.dtype == np.int64
    assert (np.diff(sample) > 0).all()
    assert sample[0] >= 0
    assert sample[-1] < 1000


def test_batch_sizes_are_binomial():
    generator = secure_generator(KEY)
    sizes = np.array([len(poisson_sample(generator, 200, 0.05)) for _ in range(4000)])
    seen = np.bincount(np.clip(sizes, 3, 18), minlength=19)[3:]
    expected = stats.binom.pmf(np.arange(3, 19), 200, 0.05)
    expected[0] = stats.binom.cdf(3, 200, 0.05)
    expected[-1] = stats.binom.sf(17, 200, 0.05)
    assert stats.chisquare(seen, expected * len(sizes)).pvalue > 0.01


def test_every_patient_is_drawn_equally_often_and_on_their_own():
    generator = secure_generator(KEY)
    drawn = np.zeros((4000, 20))
    for row in drawn:
        row[poisson_sample(generator, 20, 0.2)] = 1
    assert stats.chisquare(drawn.sum(axis=0)).pvalue > 0.01
    correlations = np.corrcoef(drawn.T) - np.eye(20)
    assert np.abs(correlations).max() < 5 / 4000**0.5


def test_a_batch_may_be_empty():
    generator = secure_generator(KEY)
    empty = sum(len(poisson_sample(generator, 10, 0.05)) == 0 for _ in range(2000))
    expected = 2000 * 0.95**10
    assert abs(empty - expected) < 5 * (expected * (1 - 0.95**10)) ** 0.5


@pytest.mark.parametrize("population", [0, 1, 1000])
def test_rate_one_takes_everybody(population):
    sample = poisson_sample(secure_generator(KEY), population, 1.0)
    assert np.array_equal(sample, np.arange(population))


class LeastFloats:
    """Draws the number k 2^-53 as often as any other, here the first ones: 0, 1, 2, ..."""

    def random(self, size):
        return np.arange(size) * 2.0**-53


@pytest.mark.parametrize(("rate", "drawn"), [(1e-300, 0), (0.9 * 2.0**-53, 0), (2.0**-53, 1), (2.5 * 2.0**-53, 2)])
def test_nobody_is_drawn_more_often_than_the_rate_says_however_small_it_is(rate, drawn):
    assert len(poisson_sample(LeastFloats(), 10, rate)) == drawn
