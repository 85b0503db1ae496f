from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from secagg.errors import InputError
from training.records import Records, concatenate
from training.standardisation import Moments, bounds_scaler, moments_of, standardiser_of
from training.task import TaskSpec, build_task


def site(values: list[list[float]]) -> Records:
    features = np.array(values, dtype=np.float32)
    count = np.arange(len(values), dtype=np.int64)
    return Records(features, count * 0, count, tuple("abc"[: features.shape[1]]), "a.csv")


def test_records_are_scaled_to_a_mean_of_0_and_a_spread_of_1(
    heart_spec: TaskSpec, heart_files: tuple[Path, ...]
) -> None:
    pooled = concatenate([build_task(heart_spec).read(path) for path in heart_files])
    scaled = standardiser_of(moments_of(pooled)).apply(pooled)
    assert scaled.features.dtype == np.float32
    np.testing.assert_allclose(scaled.features.mean(axis=0, dtype=np.float64), 0.0, atol=1e-6)
    np.testing.assert_allclose(scaled.features.std(axis=0, dtype=np.float64), 1.0, atol=1e-6)


@pytest.mark.parametrize("unit", [1e-6, 1.0, 1e12])
def test_a_column_that_does_not_vary_has_an_infinite_spread_whatever_its_unit(unit: float) -> None:
    moments = Moments(unit * np.array([5.0, 1.5]), unit**2 * np.array([1e-12, 0.25]))
    standardiser = standardiser_of(moments)
    assert standardiser.std.tolist() == [np.inf, unit * 0.5]
    assert standardiser.mean.tolist() == [unit * 5.0, unit * 1.5]
    assert standardiser.constant.tolist() == [True, False]


def test_a_column_of_zeros_says_nothing() -> None:
    assert standardiser_of(moments_of(site([[0], [0]]))).constant.tolist() == [True]


@pytest.mark.parametrize("other", [0.0, 140.0, -1e30, float(np.finfo(np.float32).max)])
def test_what_did_not_vary_in_training_is_zero_whatever_a_later_patient_has_there(other: float) -> None:
    standardiser = standardiser_of(moments_of(site([[120, 1], [120, 3]])))
    assert standardiser.apply(site([[other, 5]])).features.tolist() == [[0, 3]]


def test_images_have_no_columns_to_standardise() -> None:
    pixels = np.zeros((1, 1, 2, 2), np.float32)
    records = Records(pixels, np.zeros(1, np.int64), np.zeros(1, np.int64), (), "a.npz")
    with pytest.raises(InputError) as caught:
        moments_of(records)
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
