"""The same patients are recognised however their records are stored, and nobody else's are taken for theirs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from dp.ledger import PatientList
from dp.ledger.patients import groups_of
from dp.patient_digests import list_of, row_digests

KEY, OTHER_KEY = bytes(32), bytes([1]) * 32
# Few values, so that equal rows and equal patients do occur.
VALUES = st.sampled_from([0.0, -0.0, 1.0, -1.5, 0.1, 3e38, 1e-40])
NAMES = ("age", "dose", "weight")


@st.composite
def data_sets(draw):
    rows = draw(st.integers(1, 8))
    shape = (rows, *draw(st.sampled_from([(1,), (3,), (1, 2, 2)])))
    features = draw(arrays.arrays(np.float32, shape, elements=VALUES.map(np.float32).map(float)))
    _, patients = np.unique(draw(arrays.arrays(np.int64, rows, elements=st.integers(0, 3))), return_inverse=True)
    return features, patients.astype(np.int64)


def patient_list(key, features, patients, names=(), marks=None) -> PatientList:
    return list_of(row_digests(key, features, names, marks), patients)


def named(*data, **more) -> str:
    return patient_list(KEY, *data, **more).data_set


def distinct(rows: int, columns: int = 3, seed: int = 1):
    features = np.random.default_rng(seed).normal(size=(rows, columns)).astype(np.float32)
    return features, np.arange(rows, dtype=np.int64)


def shared(first, second) -> int:
    """How many patients of the first list are in the second."""
    return sum(count for group, count in groups_of({"a": first, "b": second})["a"].items() if "b" in group)


# The same whatever is done to it


@given(data_sets(), st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(data, random):
    order = list(range(len(data[1])))
    random.shuffle(order)
    assert named(*(column[order] for column in data)) == named(*data)


@given(data_sets(), st.permutations(range(4)))
def test_the_numbering_of_patients_does_not_matter(data, numbers):
    features, patients = data
    assert named(features, np.array(numbers)[patients]) == named(*data)


@given(data_sets())
def test_the_precision_that_the_same_values_are_stored_in_does_not_matter(data):
    features, patients = data
    assert named(features.astype(np.float64), patients) == named(*data)


@given(data_sets())
def test_the_sign_of_zero_does_not_matter(data):
    features, patients = data
    assert named(np.where(features == 0, np.float32(-0.0), features), patients) == named(*data)


def test_the_bits_of_a_missing_value_do_not_matter():
    usual = np.array([[np.nan, 1.0]])
    odd = np.array([[0xFFF8000000000001, 0x3FF0000000000000]], dtype=np.uint64).view(np.float64)
    assert usual.tobytes() != odd.tobytes()
    assert named(usual, np.zeros(1, np.int64)) == named(odd, np.zeros(1, np.int64))


@given(st.permutations(range(3)))
def test_the_order_of_named_columns_does_not_matter(order):
    features, patients = distinct(4)
    names = [NAMES[place] for place in order]
    assert named(features[:, order], patients, names=names) == named(features, patients, names=NAMES)


# Another where the patients are others


@given(data_sets(), st.data())
def test_any_changed_value_matters(data, choose):
    features, patients = data
    changed = features.copy()
    place = choose.draw(st.integers(0, features.size - 1))
    changed.flat[place] = np.nextafter(changed.flat[place], np.float32(-np.inf))
    assume(np.isfinite(changed).all())
    assert named(changed, patients) != named(*data)


def test_a_patient_more_matters_even_where_it_has_the_rows_of_another():
    features, patients = distinct(4)
    assert named(np.concatenate([features, features[:1]]), np.arange(5)) != named(features, patients)


# Some of the same patients


@pytest.mark.parametrize("rows", [1, 7, 20])
def test_a_part_is_recognised_in_the_whole_and_the_whole_in_its_parts(rows):
    features, patients = distinct(20)
    whole, part = patient_list(KEY, features, patients), patient_list(KEY, features[:rows], patients[:rows])
    assert shared(part, whole) == shared(whole, part) == rows


def test_a_patient_is_recognised_by_one_row_of_several():
    features, _ = distinct(6)
    before = patient_list(KEY, features[:4], np.array([0, 0, 1, 1]))
    # A visit more for one, one visit left of the other, and the rest are new.
    after = patient_list(KEY, features[[0, 1, 4, 2, 5]], np.array([0, 0, 0, 1, 2]))
    assert shared(after, before) == 2


def test_rows_are_recognised_where_nobody_said_any_more_whose_they_are():
    features, _ = distinct(6)
    grouped, apart = patient_list(KEY, features, np.arange(6) // 2), patient_list(KEY, features, np.arange(6))
    assert shared(apart, grouped) == 6


def test_a_mark_is_enough():
    marks = np.random.default_rng(2).integers(0, 256, (5, 2, 32), np.uint8)
    first = patient_list(KEY, *distinct(5), marks=marks)
    for kept in (0, 1):
        other = np.random.default_rng(3).integers(0, 256, (5, 2, 32), np.uint8)
        other[:3, kept] = marks[:3, kept]
        assert shared(patient_list(KEY, *distinct(5, seed=9), marks=other), first) == 3


def test_strangers_share_nothing():
    first, second = (patient_list(KEY, *distinct(50, seed=seed)) for seed in (1, 2))
    assert shared(first, second) == 0


# Who may recognise them


def test_without_the_key_nobody_is_recognised_and_nothing_can_be_tried():
    features, patients = distinct(5)
    marks = np.zeros((5, 1, 32), np.uint8)
    ours, theirs = (patient_list(key, features, patients, marks=marks) for key in (KEY, OTHER_KEY))
    assert shared(ours, theirs) == 0
    assert features[0].tobytes() not in ours.encode()
    assert bytes(16) not in ours.encode()


def test_control_without_a_key_a_known_patient_is_found():
    """What the key is for: a hash of the record alone would tell whoever has the record."""
    features, patients = distinct(5)
    everybodys = patient_list(b"", features, patients)
    guess = patient_list(b"", features[:1], patients[:1])
    assert shared(guess, everybodys) == 1


def test_the_list_of_a_recorded_data_set_never_changes():
    # A ledger is kept by it for years.
    features = np.array([[0.0, 1.0], [2.5, -1.0], [0.25, 0.5]], np.float32)
    found = patient_list(bytes(range(32)), features, np.array([0, 0, 1]), names=("b", "a"))
    assert len(found.patients) == 2
    assert found.data_set == "d8e86972cb4d058cf8ccf87c91bc85b11b3949b116384595f1c9f517946aab79"
