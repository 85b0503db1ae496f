from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from secagg.errors import InputError
from training.records import Records, concatenate
from training.standardisation import (
    bounds_scaler,
    first_moments,
    mean_from_sum,
    second_moments,
    standardiser_from_sums,
)
from training.task import TaskSpec, build_task


def site(values: list[list[float]]) -> Records:
    features = np.array(values, dtype=np.float32)
    count = np.arange(len(values), dtype=np.int64)
    return Records(features, count * 0, count, tuple("abc"[: features.shape[1]]), "a.csv")


def test_two_sums_standardise_as_if_the_records_were_pooled(
    heart_spec: TaskSpec, heart_files: tuple[Path, ...]
) -> None:
    sites = [build_task(heart_spec).read(path) for path in heart_files]
    first = sum(first_moments(records, float(len(records))) for records in sites)
    mean = mean_from_sum(first)
    second = sum(second_moments(records, float(len(records)), mean) for records in sites)
    scaled = standardiser_from_sums(first, second).apply(concatenate(sites))
    assert scaled.features.dtype == np.float32
    np.testing.assert_allclose(scaled.features.mean(axis=0, dtype=np.float64), 0.0, atol=1e-6)
    np.testing.assert_allclose(scaled.features.std(axis=0, dtype=np.float64), 1.0, atol=1e-6)


def test_a_hospital_that_drops_out_between_the_sums_does_not_bend_the_scale() -> None:
    here, gone = site([[1], [3]]), site([[2], [2]])
    first = first_moments(here, 2.0) + first_moments(gone, 2.0)
    second = second_moments(here, 2.0, mean_from_sum(first))
    standardiser = standardiser_from_sums(first, second)
    assert standardiser.mean.tolist() == [2.0]
    assert standardiser.std.tolist() == [1.0]


def test_a_column_that_does_not_vary_is_left_unscaled_even_after_fixed_point() -> None:
    records = site([[5, 1], [5, 2]])
    first = first_moments(records, 1.0)
    second = second_moments(records, 1.0, mean_from_sum(first)) + np.array([0.0, 1e-13, 0.0])
    standardiser = standardiser_from_sums(first, second)
    assert standardiser.std.tolist() == [1.0, 0.5]
    assert standardiser.apply(records).features[:, 0].tolist() == [0.0, 0.0]


def test_a_variance_that_noise_made_negative_is_no_variance() -> None:
    standardiser = standardiser_from_sums(np.array([1.0, 4.0]), np.array([1.0, -0.5]))
    assert standardiser.std.tolist() == [1.0]


@pytest.mark.parametrize("weight", [0.0, -1.0, float("nan")])
def test_no_weight_is_refused(weight: float) -> None:
    with pytest.raises(InputError) as caught:
        mean_from_sum(np.array([weight, 1.0]))
    assert caught.value.reason == "no-weight"


def test_images_have_no_columns_to_standardise() -> None:
    pixels = np.zeros((1, 1, 2, 2), np.float32)
    records = Records(pixels, np.zeros(1, np.int64), np.zeros(1, np.int64), (), "a.npz")
    with pytest.raises(InputError) as caught:
        first_moments(records, 1.0)
    assert caught.value.reason == "not-a-table"


def test_bounds_map_to_minus_one_and_one_and_clip(write_task: Callable[[str], TaskSpec]) -> None:
    spec = write_task(
        'kind = "tabular-classification"\n[data]\nlabel = "y"\nfeatures = ["a", "k"]\nstandardise = "bounds"\n'
        "[data.bounds]\na = [0, 10]\n[data.categorical]\nk = [1, 2, 3]\n"
    )
    scaled = bounds_scaler(spec.data).apply(site([[0, 0, 1], [5, 1, 0], [99, 0, 0]]))
    assert scaled.features.tolist() == [[-1, -1, 1], [0, 1, -1], [1, -1, -1]]


def test_a_column_without_bounds_is_named(heart_spec: TaskSpec) -> None:
    with pytest.raises(InputError) as caught:
        bounds_scaler(heart_spec.data)
    assert caught.value.reason == "missing-bounds"
    assert caught.value.culprit == "age"
