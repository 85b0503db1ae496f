"""Columns of a task of one's own are scaled as those that they are, or not at all."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from secagg.errors import InputError
from tests.support.hospitals import choices_of, settings_for, training_of
from training.records import Records
from training.scaling import Scaling
from training.simulation import Observer, run
from training.simulation_folder import prepare
from training.task import TaskSpec

BOUNDS = {"age": (20, 90), "dose": (0, 1)}


@pytest.fixture
def simulated(tmp_path):
    """Trains one round of a task in `tests.support.custom_tasks` on tables of two columns."""

    def simulated(kind, **data):
        paths = [tmp_path / f"h{number}.npy" for number in range(3)]
        for number, path in enumerate(paths):
            values = np.random.default_rng(number).uniform((20, 0), (90, 1), (16, 2))
            np.save(path, values.astype(np.float32))
        spec = TaskSpec.from_settings(f"tests.support.custom_tasks:{kind}", msgspec.json.encode({"data": data}))
        prepare(tmp_path / "run", settings_for(paths, choices_of(training_of(rounds=1)), spec))
        return run(tmp_path / "run", Observer())

    return simulated


@pytest.mark.parametrize("kind", ["two_columns", "two_columns_without_names"])
@pytest.mark.parametrize(
    "data",
    [
        {"standardise": "secure-sum"},
        {"standardise": "secure-sum", "features": ["age"]},
        {"standardise": "secure-sum", "features": ["age", "dose", "sex"]},
        {"standardise": "bounds"},
        {"standardise": "bounds", "features": ["age"], "bounds": BOUNDS},
    ],
    ids=["sum-of-none", "sum-of-one", "sum-of-three", "bounds-of-none", "bounds-of-one"],
)
def test_columns_that_the_task_does_not_scale_are_refused_before_anybody_trains(simulated, kind, data):
    with pytest.raises(InputError) as caught:
        simulated(kind, **data)
    assert caught.value.reason == "other-columns"
    assert caught.value.culprit.endswith("h0.npy")


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("two_columns", {"standardise": "bounds", "features": ["dose", "age"], "bounds": BOUNDS}),
        ("two_columns", {"standardise": "secure-sum", "features": ["dose", "age"]}),
        ("two_columns_without_names", {"standardise": "secure-sum", "features": ["age", "dose"]}),
    ],
    ids=["bounds", "sum", "sum-without-names"],
)
def test_no_column_is_scaled_as_another(simulated, kind, data):
    with pytest.raises(InputError, match="; the task scales ") as caught:
        simulated(kind, **data)
    assert caught.value.reason == "other-columns"


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("two_columns", {"standardise": "bounds", "features": ["age", "dose"], "bounds": BOUNDS}),
        ("two_columns_without_names", {"standardise": "bounds", "features": ["age", "dose"], "bounds": BOUNDS}),
        ("two_columns", {"standardise": "secure-sum", "features": ["age", "dose"]}),
        ("two_columns_without_names", {"standardise": "none"}),
    ],
    ids=["bounds", "bounds-by-place", "sum", "none"],
)
def test_control_those_that_it_scales_are_trained_on(simulated, kind, data):
    assert len(simulated(kind, **data).rounds) >= 1


def test_names_of_columns_may_come_in_a_list():
    spec = TaskSpec.from_settings(
        "tests.support.custom_tasks:two_columns",
        msgspec.json.encode({"data": {"standardise": "secure-sum", "features": ["age", "dose"]}}),
    )
    records = Records(np.zeros((4, 2), np.float32), np.zeros(4, np.int64), np.arange(4), ["age", "dose"], "s")
    Scaling(spec).require_columns(records)
