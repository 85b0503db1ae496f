"""Noise has the distribution that the accounting assumes, whatever it is added to."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from dp.gaussian import GaussianMechanism, gaussian, noisy_counts
from dp.randomness import secure_generator
from secagg.errors import InputError

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


def mechanism(**changes) -> GaussianMechanism:
    return GaussianMechanism(**{"noise_multiplier": 2.0, "clip_norm": 1.0, "coordinates": 100} | changes)


def released(total: torch.Tensor, **changes) -> torch.Tensor:
    return mechanism(coordinates=max(1, total.numel()), **changes).release(total, secure_generator(KEY))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(), (3,), (2, 0), (4, 3, 2)])
def test_a_noisy_sum_has_the_shape_and_type_of_the_sum_which_stays_as_it_is(shape, dtype):
    total = torch.ones(shape, dtype=dtype)
    noisy = released(total)
    assert (noisy.shape, noisy.dtype, noisy.device.type) == (shape, dtype, "cpu")
    assert (total == 1).all()
    assert (noisy != 1).all()


def test_noise_is_the_same_for_any_type_up_to_its_precision():
    single, double = (released(torch.zeros(100, dtype=dtype)) for dtype in (torch.float32, torch.float64))
    assert torch.equal(single, double.to(torch.float32))


def test_a_noisy_sum_stays_on_the_accelerator_of_the_sum():
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    there = released(torch.ones(100, device="cuda"))
    assert there.device.type == "cuda"
    assert torch.equal(there.cpu(), released(torch.ones(100)))


def test_torch_has_no_part_in_the_noise():
    torch.manual_seed(0)
    state = torch.get_rng_state()
    released(torch.zeros(10))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("deviation", [0.01, 1.0, 300.0])
def test_what_is_added_passes_for_a_normal_of_the_wanted_deviation(deviation):
    noise = released(torch.zeros(SAMPLES, dtype=torch.float64), noise_multiplier=deviation).numpy()
    assert stats.kstest(noise / deviation, "norm").pvalue > 0.01
    assert abs(noise.std() / deviation - 1) < 5 / (2 * SAMPLES) ** 0.5


@pytest.mark.parametrize("multiplier", [0.3, 1.0, 7.7])
@pytest.mark.parametrize("clip_norm", [1e-6, 1.0, 3e4])
def test_sum_and_noise_are_in_whole_steps_of_a_grid_that_public_numbers_set(multiplier, clip_norm):
    used = mechanism(noise_multiplier=multiplier, clip_norm=clip_norm)
    assert np.frexp(used.step)[0] == 0.5
    assert 2**-31 < used.step / (multiplier * clip_norm) <= 2**-30
    totals = [np.random.default_rng(seed).normal(0, 9 * clip_norm, 100) for seed in (1, 2)]
    steps = [used.release(torch.from_numpy(total), secure_generator(KEY)).numpy() / used.step for total in totals]
    assert all((found == np.rint(found)).all() for found in steps)
    # The same noise on both: what is between them is what is between the rounded sums.
    first, second = (np.rint(total / used.step) for total in totals)
    assert (steps[1] - steps[0] == second - first).all()


def test_one_vector_moves_the_rounded_sum_by_no_more_than_the_noise_is_sized_for():
    coordinates = 10_000
    used = mechanism(noise_multiplier=0.5, clip_norm=1.0, coordinates=coordinates)
    # In steps: a sum just below the middle of two, and a vector that takes each coordinate just beyond another.
    without, longest = np.full(coordinates, 0.499), used.clip_norm / used.step / coordinates**0.5
    vector = np.full(coordinates, np.floor(longest) - 1 + 0.002)
    assert np.linalg.norm(vector) * used.step <= used.clip_norm
    moved = np.linalg.norm(np.rint(without + vector) - np.rint(without))
    assert moved == pytest.approx(np.linalg.norm(vector) + 0.998 * coordinates**0.5, rel=1e-12)
    assert moved * used.step <= used.sensitivity
    assert used.clip_norm < used.sensitivity < used.clip_norm * (1 + 1e-7)
    assert used.deviation == 0.5 * used.sensitivity


@pytest.mark.parametrize("changes", [{"noise_multiplier": 0.0}, {"clip_norm": 0.0}, {"noise_multiplier": 1e-320}])
def test_a_sum_that_would_have_no_noise_is_not_released(changes):
    with pytest.raises(InputError) as caught:
        mechanism(**changes)
    assert caught.value.reason == "no-noise"


@pytest.mark.parametrize("noise_multiplier", [0.0, -1.0, float("nan")])
def test_counts_that_would_have_no_noise_are_not_released(noise_multiplier):
    with pytest.raises(InputError) as caught:
        noisy_counts(np.array([3, 4]), noise_multiplier, secure_generator())
    assert caught.value.reason == "no-noise"


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
