"""Noise has the distribution that the accounting assumes, whatever it is added to."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from dp.gaussian import gaussian, gaussian_like, noisy_counts
from dp.randomness import secure_generator

KEY = bytes(range(16))
SAMPLES = 200_000


class CountingGenerator:
    """A real generator that notes how often it was asked."""

    def __init__(self) -> None:
        self.draws = 0
        self._generator = secure_generator(KEY)

    def standard_normal(self, size):
        self.draws += size
        return self._generator.standard_normal(size)


@pytest.mark.parametrize("deviation", [0.01, 1.0, 300.0])
def test_noise_passes_for_a_normal_of_the_wanted_deviation(deviation):
    noise = gaussian(secure_generator(KEY), SAMPLES, deviation)
    assert stats.kstest(noise / deviation, "norm").pvalue > 0.01
    # Standard errors of mean, deviation, skewness and kurtosis, five of each.
    assert abs(noise.mean()) < 5 * deviation / SAMPLES**0.5
    assert abs(noise.std() / deviation - 1) < 5 / (2 * SAMPLES) ** 0.5
    assert abs(stats.skew(noise)) < 5 * (6 / SAMPLES) ** 0.5
    assert abs(stats.kurtosis(noise)) < 5 * (24 / SAMPLES) ** 0.5


def test_the_same_test_rejects_a_deviation_that_is_two_percent_less():
    noise = gaussian(secure_generator(KEY), SAMPLES, 0.98)
    assert stats.kstest(noise, "norm").pvalue < 1e-6


def test_the_draws_are_independent_of_one_another():
    noise = gaussian(secure_generator(KEY), SAMPLES, 1.0)
    for lag in (1, 2, 4, 8):
        assert abs(np.corrcoef(noise[:-lag], noise[lag:])[0, 1]) < 5 / SAMPLES**0.5


def test_every_value_is_made_of_four_draws():
    generator = CountingGenerator()
    gaussian(generator, 10, 1.0)
    assert generator.draws == 40


def test_no_noise_is_no_noise_and_nothing_is_nothing():
    assert not gaussian(secure_generator(KEY), 5, 0.0).any()
    assert gaussian(secure_generator(KEY), 0, 1.0).shape == (0,)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(), (3,), (2, 0), (4, 3, 2)])
def test_noise_like_a_tensor_has_its_shape_and_type(shape, dtype):
    noise = gaussian_like(torch.zeros(shape, dtype=dtype), secure_generator(KEY), 1.0)
    assert (noise.shape, noise.dtype, noise.device.type) == (shape, dtype, "cpu")


def test_noise_is_the_same_for_any_type_up_to_its_precision():
    single, double = (
        gaussian_like(torch.zeros(100, dtype=dtype), secure_generator(KEY), 2.0)
        for dtype in (torch.float32, torch.float64)
    )
    assert torch.equal(single, double.to(torch.float32))


def test_noise_lands_on_the_accelerator_of_the_tensor():
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    there = gaussian_like(torch.zeros(100, device="cuda"), secure_generator(KEY), 2.0)
    assert there.device.type == "cuda"
    assert torch.equal(there.cpu(), gaussian_like(torch.zeros(100), secure_generator(KEY), 2.0))


def test_torch_has_no_part_in_the_noise():
    torch.manual_seed(0)
    state = torch.get_rng_state()
    gaussian_like(torch.zeros(10), secure_generator(KEY), 1.0)
    assert torch.equal(torch.get_rng_state(), state)


def test_noisy_counts_are_integers_around_the_counts():
    counts = np.arange(SAMPLES, dtype=np.int64).reshape(2, -1)
    noisy = noisy_counts(counts, 5.0, secure_generator(KEY))
    assert (noisy.dtype, noisy.shape) == (np.int64, counts.shape)
    errors = (noisy - counts).ravel()
    assert abs(errors.mean()) < 5 * 5.0 / SAMPLES**0.5
    # Rounding to integers adds the variance of a uniform error, one twelfth.
    assert errors.var() == pytest.approx(25 + 1 / 12, rel=5 * (2 / SAMPLES) ** 0.5)


def test_noisy_counts_may_be_negative_and_leave_the_counts_alone():
    counts = np.zeros(1000, dtype=np.int64)
    assert noisy_counts(counts, 5.0, secure_generator(KEY)).min() < 0
    assert not counts.any()
