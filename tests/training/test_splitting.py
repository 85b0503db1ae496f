from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import train_test_split

from secagg.errors import InputError
from tests.support.hospitals import tabular_spec
from training.hospital_setup import split_patients
from training.records import Records
from training.splitting import (
    DirichletSplit,
    IidSplit,
    divide_by_patient,
    divide_stratified,
    parse_split,
    split_by_column,
    split_dirichlet,
    split_iid,
    split_records,
)
from training.task import TaskSpec, build_task
from training.tasks.tabular import TabularTask


def some_records(labels: list[int], patients: list[int] | None = None) -> Records:
    count = len(labels)
    people = np.arange(count) if patients is None else np.array(patients)
    features = np.stack([np.arange(count), people], axis=1).astype(np.float32)
    return Records(features, np.array(labels, np.int64), people.astype(np.int64), ("row", "patient"), "a.csv")


def rows(records: Records) -> list[int]:
    return records.features[:, 0].astype(int).tolist()


def people(records: Records) -> set[int]:
    return set(records.features[:, 1].astype(int).tolist())


def assert_divided(whole: Records, parts: list[Records]) -> None:
    assert sorted(row for part in parts for row in rows(part)) == sorted(rows(whole))
    assert sum(len(people(part)) for part in parts) == whole.patient_count
    assert all(part.patient_count == len(people(part)) for part in parts)


def test_the_hearts_are_held_out_as_flamby_does(heart_spec: TaskSpec, heart_files: tuple[Path]) -> None:
    task = build_task(heart_spec)
    sizes = []
    for path in heart_files:
        site = task.read(path)
        train, test = divide_stratified(site, heart_spec.evaluation.train_fraction, 43)
        sizes.append((len(train), len(test)))
        _, members = np.unique(site.labels, return_counts=True)
        train_rows, test_rows = train_test_split(
            np.arange(len(site)),
            test_size=1.0 - 0.66,
            train_size=0.66,
            random_state=43,
            shuffle=True,
            stratify=site.labels if len(members) > 1 and members.min() > 2 else None,
        )
        np.testing.assert_array_equal(train.features, site.features[train_rows])
        np.testing.assert_array_equal(test.features, site.features[test_rows])
    assert sizes == [(199, 104), (172, 89), (30, 16), (85, 45)]


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(0, 2), min_size=2, max_size=60), st.floats(0.05, 0.95), st.integers(0, 5))
def test_a_stratified_division_never_splits_a_patient_and_loses_nobody(
    labels: list[int], fraction: float, rows_each: int
) -> None:
    people_of = [index // (rows_each + 1) for index in range(len(labels))]
    whole = some_records(labels, people_of)
    if not 0 < np.floor(fraction * whole.patient_count) < whole.patient_count:
        return
    assert_divided(whole, list(divide_stratified(whole, fraction, 1)))


def test_fractions_that_float_arithmetic_cannot_add_up_lose_nobody() -> None:
    whole = some_records([0, 1] * 50)
    for percent in range(1, 100):
        train, test = divide_stratified(whole, percent / 100, 0)
        assert len(train) + len(test) == 100


def test_a_stratified_division_with_nobody_on_a_side_is_refused() -> None:
    with pytest.raises(InputError, match="not between"):
        divide_stratified(some_records([0, 1]), 1.0, 0)
    with pytest.raises(InputError, match="too few"):
        divide_stratified(some_records([0, 1]), 0.1, 0)


def division(records: Records, divide=divide_by_patient, fraction: float = 0.3) -> tuple[set[int], set[int]]:
    train, test = divide(records, fraction, 1)
    return people(train), people(test)


def test_a_patient_more_moves_nobody_else_between_training_and_test() -> None:
    train, test = division(some_records([0, 1] * 50))
    more_train, more_test = division(some_records([0, 1] * 50 + [0]))
    assert (more_train - {100}, more_test - {100}) == (train, test)
    assert more_train | more_test == set(range(101))


def test_control_of_a_stratified_division_a_patient_more_moves_others() -> None:
    train, _ = division(some_records([0, 1] * 50), divide_stratified)
    more_train, _ = division(some_records([0, 1] * 50 + [0]), divide_stratified)
    assert len((more_train - {100}) ^ train) > 10


def test_a_patient_s_side_depends_neither_on_order_nor_on_labels() -> None:
    whole = some_records([0, 1] * 50)
    again = whole.take(np.random.default_rng(0).permutation(100))
    relabelled = some_records([1] * 100)
    assert division(whole) == division(again) == division(relabelled)
    assert division(whole) != tuple(map(people, divide_by_patient(whole, 0.3, 2)))


def test_a_patient_known_by_name_stays_where_it_is_when_a_row_is_added() -> None:
    def named(rows_each: int) -> Records:
        owners = np.repeat(np.arange(50), rows_each)
        bare = some_records([0] * len(owners), owners.tolist())
        names = np.repeat(np.arange(50, dtype=np.uint8), rows_each)[:, None, None] * np.ones((1, 2, 32), np.uint8)
        return dataclasses.replace(bare, marks=names)

    assert division(named(1)) == division(named(3))


def split(records: Records, **data: int) -> tuple[Records, Records]:
    return split_patients(records, build_task(tabular_spec(**data)))


def test_of_each_patient_on_either_side_no_more_rows_are_used_than_the_task_says() -> None:
    owners = np.repeat(np.arange(40), np.arange(1, 41)).tolist()
    whole, few = (split(some_records([0] * len(owners), owners), **data) for data in ({}, {"most_rows": 3}))
    for all_rows, kept in zip(whole, few, strict=True):
        assert people(kept) == people(all_rows)
        assert np.bincount(kept.patients).tolist() == np.minimum(np.bincount(all_rows.patients), 3).tolist()


def test_a_patient_on_either_side_who_was_ill_in_the_last_row_alone_stays_ill() -> None:
    some = some_records([0, 0, 0, 1] * 40, np.repeat(np.arange(40), 4).tolist())
    for few in split(some, most_rows=2):
        assert few.patient_labels().tolist() == [1] * few.patient_count
        assert few.labels.tolist() == [0, 1] * few.patient_count


def named_rows(labels: list[int]) -> Records:
    """Of 40 patients known by name: as many labels as each has rows."""
    names = np.repeat(np.arange(40, dtype=np.uint8), len(labels))
    bare = some_records(labels * 40, names.tolist())
    return dataclasses.replace(bare, marks=names[:, None, None] * np.ones((1, 2, 32), np.uint8))


def test_rows_that_a_patient_has_beyond_those_change_nothing() -> None:
    whole = named_rows([0, 0, 0])
    more = whole.take([*range(120), 5, 5, 5])
    for part, again in zip(split(whole, most_rows=3), split(more, most_rows=3), strict=True):
        assert rows(part) == rows(again)
    assert sum(map(len, split(more))) == 123


def test_which_rows_of_a_patient_are_used_depends_on_no_other_patient() -> None:
    whole = named_rows([0, 0, 1])
    without = whole.take(range(3, 120))
    used, left = ({row for part in split(some, most_rows=2) for row in rows(part)} for some in (whole, without))
    assert used - left == {0, 2}
    assert left < used


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 60), st.floats(0.0, 0.95), st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_a_division_by_patient_never_splits_one_and_loses_nobody(count, fraction, rows_each, seed) -> None:
    whole = some_records([0] * count * rows_each, [index // rows_each for index in range(count * rows_each)])
    try:
        train, test = divide_by_patient(whole, fraction, seed)
    except InputError as error:
        assert error.reason == "too-few-patients"  # noqa: PT017
        return
    assert_divided(whole, [train, test] if test else [train])


def test_about_the_fraction_of_patients_is_kept_back() -> None:
    _, kept_back = division(some_records([0] * 4000), fraction=0.25)
    # Four standard deviations of a binomial.
    assert len(kept_back) == pytest.approx(1000, abs=4 * np.sqrt(4000 * 0.25 * 0.75))


def test_of_few_patients_none_may_be_kept_back_but_one_is_trained_on() -> None:
    assert divide_by_patient(some_records([0]), 1e-9, 0)[1] is None
    with pytest.raises(InputError) as refused:
        divide_by_patient(some_records([0]), 1 - 1e-9, 0)
    assert refused.value.reason == "too-few-patients"


def test_iid_hospitals_have_equal_numbers_of_patients() -> None:
    whole = some_records([0, 1] * 10 + [0], [index // 2 for index in range(21)])
    parts = split_iid(whole, 4, 7)
    assert_divided(whole, parts)
    assert sorted(part.patient_count for part in parts) == [2, 3, 3, 3]
    assert [rows(part) for part in parts] == [rows(part) for part in split_iid(whole, 4, 7)]


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.integers(0, 1), min_size=40, max_size=80),
    st.integers(1, 6),
    st.floats(0.01, 10),
    st.integers(0, 1000),
)
def test_dirichlet_hospitals_all_get_their_minimum(labels: list[int], hospitals: int, alpha: float, seed: int) -> None:
    whole = some_records(labels)
    parts = split_dirichlet(whole, hospitals, alpha, seed, minimum=5)
    assert_divided(whole, parts)
    assert len(parts) == hospitals
    assert min(len(part) for part in parts) >= 5


def test_dirichlet_keeps_the_rows_of_a_patient_together() -> None:
    whole = some_records([0, 1] * 30, [index // 3 for index in range(60)])
    assert_divided(whole, split_dirichlet(whole, 5, 0.2, 3, minimum=4))


def test_a_small_alpha_skews_labels_and_a_large_one_does_not() -> None:
    whole = some_records([0, 1] * 500)

    def spread(alpha: float) -> float:
        return float(np.std([part.labels.mean() for part in split_dirichlet(whole, 10, alpha, 5, minimum=5)]))

    assert spread(0.1) > 0.25
    assert spread(1000.0) < 0.1


def test_too_many_hospitals_are_refused() -> None:
    whole = some_records([0, 1, 0, 1])
    for divide in (
        lambda: split_iid(whole, 5, 0),
        lambda: split_iid(whole, 0, 0),
        lambda: split_dirichlet(whole, 3, 1.0, 0, minimum=2),
    ):
        with pytest.raises(InputError) as caught:
            divide()
        assert caught.value.reason == "too-few-patients"


def test_a_split_is_parsed_from_one_word() -> None:
    assert parse_split("iid") == IidSplit()
    assert parse_split("dirichlet:0.5") == DirichletSplit(0.5)
    whole = some_records([0, 1] * 10)
    assert len(split_records(whole, parse_split("dirichlet:0.5"), 3, 0)) == 3
    assert len(split_records(whole, parse_split("iid"), 3, 0)) == 3


@pytest.mark.parametrize("text", ["", "iid:1", "dirichlet", "dirichlet:", "dirichlet:0", "dirichlet:nan", "sorted"])
def test_a_split_that_nobody_knows_is_refused(text: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_split(text)
    assert caught.value.reason == "bad-split"


def test_a_table_of_several_hospitals_is_parted_by_their_column(
    write_task: Callable[[str], TaskSpec], tmp_path: Path
) -> None:
    path = tmp_path / "all.csv"
    path.write_text("where,age,sick\nsouth,1,0\nnorth,2,1\nsouth,3,1\n")
    text = 'kind = "tabular-classification"\n[data]\nlabel = "sick"\n'
    sites = split_by_column(TabularTask(write_task(text + 'drop = ["where"]\n')), path, "where")
    assert [(site.name, site.records.features[:, 0].tolist()) for site in sites] == [("north", [2]), ("south", [1, 3])]
    with pytest.raises(InputError) as caught:
        split_by_column(TabularTask(write_task(text)), path, "where")
    assert caught.value.reason == "site-column-is-a-feature"
    with pytest.raises(InputError, match="it has: where, age, sick"):
        split_by_column(TabularTask(write_task(text)), path, "region")
