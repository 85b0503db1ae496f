"""One data set has one fingerprint, however it is stored; another data set has another."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from dp.fingerprint import fingerprint

# Few values, so that equal rows and equal patients do occur.
VALUES = st.sampled_from([0.0, -0.0, 1.0, -1.5, 0.1, 3e38, 1e-40])


@st.composite
def data_sets(draw):
    rows = draw(st.integers(1, 8))
    shape = (rows, *draw(st.sampled_from([(1,), (3,), (1, 2, 2)])))
    features = draw(arrays.arrays(np.float32, shape, elements=VALUES.map(np.float32).map(float)))
    labels = draw(arrays.arrays(np.int64, rows, elements=st.integers(0, 2)))
    _, patients = np.unique(draw(arrays.arrays(np.int64, rows, elements=st.integers(0, 3))), return_inverse=True)
    return features, labels, patients.astype(np.int64)


def partition(patients):
    return {frozenset(np.flatnonzero(patients == patient)) for patient in patients}


@given(data_sets(), st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(data, random):
    order = list(range(len(data[1])))
    random.shuffle(order)
    assert fingerprint(*(column[order] for column in data)) == fingerprint(*data)


@given(data_sets(), st.permutations(range(4)))
def test_the_numbering_of_patients_does_not_matter(data, numbers):
    features, labels, patients = data
    assert fingerprint(features, labels, np.array(numbers)[patients]) == fingerprint(*data)


@given(data_sets())
def test_the_precision_that_the_same_values_are_stored_in_does_not_matter(data):
    features, labels, patients = data
    assert fingerprint(features.astype(np.float64), labels, patients) == fingerprint(*data)


@given(data_sets())
def test_the_sign_of_zero_does_not_matter(data):
    features, labels, patients = data
    assert fingerprint(np.where(features == 0, np.float32(-0.0), features), labels, patients) == fingerprint(*data)


def test_the_bits_of_a_missing_value_do_not_matter():
    usual = np.array([[np.nan, 1.0]])
    odd = np.array([[0xFFF8000000000001, 0x3FF0000000000000]], dtype=np.uint64).view(np.float64)
    assert usual.tobytes() != odd.tobytes()
    zeros = np.zeros(1, np.int64)
    assert fingerprint(usual, zeros, zeros) == fingerprint(odd, zeros, zeros)


@given(data_sets(), st.data())
def test_any_changed_value_matters(data, choose):
    features, labels, patients = data
    changed = features.copy()
    place = choose.draw(st.integers(0, features.size - 1))
    changed.flat[place] = np.nextafter(changed.flat[place], np.float32(-np.inf))
    assume(np.isfinite(changed).all())
    assert fingerprint(changed, labels, patients) != fingerprint(*data)


@given(data_sets(), st.data())
def test_any_changed_label_matters(data, choose):
    features, labels, patients = data
    changed = labels.copy()
    changed[choose.draw(st.integers(0, len(labels) - 1))] += 7
    assert fingerprint(features, changed, patients) != fingerprint(*data)


@given(data_sets(), st.data())
def test_which_rows_belong_together_matters(data, choose):
    features, labels, patients = data
    # Rows that are all different, or else another grouping may be the same data set.
    features = features.copy()
    features.reshape(len(labels), -1)[:, 0] = np.arange(len(labels))
    other = choose.draw(arrays.arrays(np.int64, len(labels), elements=st.integers(0, 3)))
    same = partition(other) == partition(patients)
    assert (fingerprint(features, labels, other) == fingerprint(features, labels, patients)) == same


@given(data_sets())
def test_a_row_more_or_less_matters_even_where_it_is_a_copy(data):
    doubled = tuple(np.concatenate([column, column[:1]]) for column in data)
    assert fingerprint(*doubled) != fingerprint(*data)


@pytest.mark.parametrize("value", [np.float32(0.1), 0.1])
def test_a_fingerprint_is_a_sha_256_in_hexadecimal(value):
    found = fingerprint(np.array([[value]]), np.zeros(1, np.int64), np.zeros(1, np.int64))
    assert len(bytes.fromhex(found)) == 32


def test_the_fingerprint_of_a_recorded_data_set_never_changes():
    # A ledger is keyed by it for years.
    features = np.array([[0.0, 1.0], [2.5, -1.0], [0.25, 0.5]], np.float32)
    found = fingerprint(features, np.array([0, 1, 1]), np.array([0, 0, 1]))
    assert found == "0d4ac926c6c4f4418de6df9fc945de96dd6b12e4755266f5932e356702de7d24"
