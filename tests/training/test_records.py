from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secagg.errors import InputError
from training.records import Records, concatenate, number_patients, require_two_classes


def records(
    features: list[list[float]], labels: list[int], patients: list[int] | None = None, source: str = "a.csv"
) -> Records:
    table = np.array(features, dtype=np.float32)
    people = np.arange(len(labels)) if patients is None else np.array(patients)
    names = tuple("xyz"[: table.shape[1]]) if table.ndim == 2 else ()
    return Records(table, np.array(labels, dtype=np.int64), people.astype(np.int64), names, source)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_value_that_is_no_finite_number_is_refused_naming_file_and_column(value: float) -> None:
    with pytest.raises(InputError) as caught:
        records([[1, 2], [3, value]], [0, 1])
    assert caught.value.reason == "nan-features"
    assert "a.csv" in caught.value.message
    assert "'y'" in caught.value.message
    assert "record 2" in caught.value.message


def test_no_records_are_an_empty_site() -> None:
    with pytest.raises(InputError) as caught:
        Records(np.empty((0, 2), np.float32), np.empty(0, np.int64), np.empty(0, np.int64), ("x", "y"), "a.csv")
    assert caught.value.reason == "empty-site"


def test_lengths_types_and_names_must_match() -> None:
    table, column = np.zeros((2, 1), np.float32), np.zeros(2, np.int64)
    for arguments in (
        (table, np.zeros(3, np.int64), column, ("x",)),
        (table.astype(np.float64), column, column, ("x",)),
        (table, column.astype(np.int32), column, ("x",)),
        (table, column, column, ("x", "y")),
    ):
        with pytest.raises(InputError) as caught:
            Records(*arguments, source="a.csv")
        assert caught.value.reason == "record-shapes"


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        ([0, 1], "labels must be a NumPy array, not list"),
        (None, "labels must be a NumPy array, not NoneType"),
        (np.zeros(2, np.float32), r"float32 \(2, 1\), float32 \(2,\), int64 \(2,\)"),
    ],
)
def test_what_is_no_array_of_the_right_type_is_told_as_what_it_is(labels: Any, told: str) -> None:
    with pytest.raises(InputError, match=told) as caught:
        Records(np.zeros((2, 1), np.float32), labels, np.arange(2), ("x",), "a.csv")
    assert caught.value.reason == "record-shapes"


def test_labels_are_counted_from_0() -> None:
    with pytest.raises(InputError, match="below 0") as caught:
        records([[1], [2]], [-1, 1])
    assert caught.value.reason == "bad-labels"


def test_patients_must_be_numbered_without_gaps() -> None:
    with pytest.raises(InputError) as caught:
        records([[1], [2]], [0, 1], [0, 2])
    assert caught.value.reason == "patient-numbers"


def test_taking_rows_renumbers_their_patients() -> None:
    taken = records([[1], [2], [3], [4]], [0, 1, 0, 1], [0, 1, 2, 1]).take([3, 2])
    assert taken.patients.tolist() == [0, 1]
    assert taken.labels.tolist() == [1, 0]
    assert taken.features[:, 0].tolist() == [4, 3]


def test_the_label_of_a_patient_is_the_largest_of_the_rows() -> None:
    assert records([[1], [2], [3]], [0, 1, 0], [0, 0, 1]).patient_labels().tolist() == [1, 0]


def test_rows_of_patients_come_patient_by_patient() -> None:
    some = records([[1], [2], [3], [4]], [0, 0, 0, 0], [0, 1, 0, 2])
    assert some.rows_of([2, 0]).tolist() == [3, 0, 2]
    assert some.rows_of([]).tolist() == []


def test_of_rows_with_one_label_the_first_of_each_patient_are_kept_in_their_order() -> None:
    few = records([[1], [2], [3], [4], [5], [6]], [0] * 6, [0, 1, 0, 2, 0, 1]).limit_rows(2)
    assert few.features[:, 0].tolist() == [1, 2, 3, 4, 6]
    assert few.patients.tolist() == [0, 1, 0, 2, 1]


@pytest.mark.parametrize(("most", "kept"), [(1, [4]), (2, [1, 4]), (3, [1, 2, 4]), (5, [1, 2, 3, 4, 5]), (None, None)])
def test_the_first_row_with_the_patients_label_is_kept_and_then_the_first_others(most, kept) -> None:
    some = records([[1], [2], [3], [4], [5], [6]], [0, 1, 0, 2, 0, 2], [0] * 6)
    assert some.limit_rows(most).features[:, 0].tolist() == (kept or [1, 2, 3, 4, 5, 6])


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3)), min_size=1), st.integers(1, 5))
def test_no_patients_label_depends_on_how_many_rows_are_used(rows, most) -> None:
    whole = records(
        [[patient, number] for number, (patient, _) in enumerate(rows)],
        [label for _, label in rows],
        number_patients(patient for patient, _ in rows).tolist(),
    )
    few = whole.limit_rows(most)
    assert labels_by_name(few) == labels_by_name(whole)
    assert sorted(np.bincount(few.patients)) == sorted(np.minimum(np.bincount(whole.patients), most))
    assert few.features[:, 1].tolist() == sorted(few.features[:, 1].tolist())


def labels_by_name(some: Records) -> dict[float, int]:
    """The label of each patient, by the first feature, which all rows of a patient share."""
    labels = some.patient_labels()
    return {name: int(labels[patient]) for name, patient in zip(some.features[:, 0], some.patients, strict=True)}


def test_pooling_keeps_patients_of_different_hospitals_apart() -> None:
    pooled = concatenate([records([[1], [2]], [0, 1], [0, 0]), records([[3]], [1], source="b.csv")])
    assert pooled.patients.tolist() == [0, 0, 1]
    assert pooled.patient_count == 2
    assert pooled.source == "a.csv, b.csv"


def test_different_columns_cannot_be_pooled() -> None:
    with pytest.raises(InputError) as caught:
        concatenate([records([[1]], [0]), records([[1, 2]], [0], source="b.csv")])
    assert caught.value.reason == "different-features"
    assert caught.value.culprit == "b.csv"
    with pytest.raises(InputError, match="no records"):
        concatenate([])


def test_a_site_with_one_class_is_refused_only_when_asked() -> None:
    site = records([[1], [2]], [1, 1])
    with pytest.raises(InputError) as caught:
        require_two_classes(site)
    assert caught.value.reason == "one-class-site"
    require_two_classes(records([[1], [2]], [0, 1]))


def test_patients_are_numbered_by_first_appearance() -> None:
    assert number_patients(["b", "a", "b", "c"]).tolist() == [0, 1, 0, 2]


def test_a_name_with_a_nul_character_at_its_end_is_another_patients() -> None:
    assert number_patients(["a", "a\0"]).tolist() == [0, 1]


def test_one_long_name_does_not_widen_all_others() -> None:
    names = [f"p{number}" for number in range(2000)]
    tracemalloc.start()
    try:
        number_patients([*names, "z" * 100_000])
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()
