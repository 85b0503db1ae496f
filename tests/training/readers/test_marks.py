"""A row is recognised by its cells however they are written, and a patient by the name that the table has for it."""

from __future__ import annotations

import numpy as np
import pytest

from training.readers.marks import row_marks
from training.readers.table import Table

COLUMNS = ("id", "age", "sex", "note")
ROW = ("P-17", "61.5", "1", "stable")


def marks(*rows, columns=COLUMNS, patient=None):
    return row_marks(Table(columns, rows, tuple("" for _ in rows), "a.csv"), patient)


def test_each_row_has_a_mark_and_one_more_where_a_column_names_the_patient():
    assert marks(ROW, ROW).shape == (2, 1, 32)
    assert marks(ROW, ROW, patient="id").shape == (2, 2, 32)


@pytest.mark.parametrize(
    "other",
    [
        ("P-17", "61.50", "1.0", "stable"),
        ("P-17", "6.15e1", " 1", "stable "),
        # What a float32 becomes in Parquet.
        ("P-17", str(float(np.float32(61.5))), "1", "stable"),
    ],
)
def test_how_a_number_is_written_does_not_matter(other):
    assert np.array_equal(marks(ROW), marks(other))


@pytest.mark.parametrize(
    ("one", "same"),
    [
        ("NA", ""),
        ("nan", "?"),
        ("True", "1"),
        ("FALSE", "0.0"),
        # A time as CSV files have it, and as what reads Parquet writes it.
        ("2024-01-01T10:00:00", "2024-01-01 10:00:00"),
        ("2024-01-01", "2024-01-01 00:00:00"),
        ("2024-01-01T10:00Z", "2024-01-01 10:00:00+00:00"),
    ],
)
def test_how_a_truth_a_time_or_a_gap_is_written_does_not_matter(one, same):
    assert np.array_equal(marks((one, "61.5"), columns=("a", "b")), marks((same, "61.5"), columns=("a", "b")))


def test_what_only_begins_as_a_date_is_text():
    assert not np.array_equal(*(marks((text,), columns=("a",)) for text in ("2024-01-01 a", "2024-01-01 b")))


def test_a_float32_that_was_stored_and_read_again_is_the_same_number():
    assert np.array_equal(marks(("0.1",), columns=("dose",)), marks((str(float(np.float32(0.1))),), columns=("dose",)))
    assert np.array_equal(marks(("-0.0",), columns=("dose",)), marks(("0",), columns=("dose",)))


def test_the_order_and_the_names_of_columns_do_not_matter():
    assert np.array_equal(marks(ROW), marks(ROW[::-1], columns=("a", "b", "c", "d")))


@pytest.mark.parametrize("other", [("P-18", *ROW[1:]), (*ROW[:3], "worse"), ("P-17", "61.6", "1", "stable")])
def test_another_cell_is_another_row(other):
    assert not np.array_equal(marks(ROW), marks(other))


def test_a_column_more_is_another_row_but_the_same_patient():
    first = marks(ROW, patient="id")
    second = marks((*ROW, "new"), columns=(*COLUMNS, "lab"), patient="id")
    assert [np.array_equal(first[0, place], second[0, place]) for place in (0, 1)] == [False, True]


@pytest.mark.parametrize(
    ("one", "same"),
    [
        ("P-17", "p-17 "),
        ("7", "007"),
        ("7", "7.0"),
        ("12345678901", "12345678901.0"),
        # Beyond what a float can count.
        ("9100000000000001", "9100000000000001.0"),
        ("9100000000000001", "0009100000000000001"),
        ("9100000000000001", "+9100000000000001."),
        ("-12345678901234567890", "-012345678901234567890.00"),
        # One character, or a letter and two dots.
        ("M\u00fcller", "Mu\u0308ller"),
    ],
)
def test_a_patients_name_is_the_same_however_it_is_written(one, same):
    assert np.array_equal(*(marks((name,), columns=("id",), patient="id")[:, 1] for name in (one, same)))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("16777216", "16777217"),
        ("P-17", "P-71"),
        ("7", "7.5"),
        ("nan", "inf"),
        ("9100000000000001", "9100000000000002"),
        ("9100000000000001", "-9100000000000001"),
        ("9100000000000001", "9100000000000001.5"),
        ("1_23", "12_3"),
    ],
)
def test_other_names_are_other_patients(one, other):
    assert not np.array_equal(*(marks((name,), columns=("id",), patient="id")[:, 1] for name in (one, other)))


@pytest.mark.parametrize(
    ("name", "digest"),
    [
        ("P-17", "e2f1ad0dbbb860dd"),
        ("M\u00fcller", "16b6a37d07ce2199"),
        ("STRA\u00dfE 7", "6abe95297f45451a"),
        ("007", "4bc3e21630feb7f9"),
        ("-3", "8cf4113794547e46"),
        ("1e5", "555a71aa13a4e947"),
        ("12e30", "599aaced73c4f40d"),
        ("9007199254740991", "b91e1d687c03037d"),
        ("9100000000000001", "de562a8fe82ee2f4"),
        ("PAT_0017", "78a098b6eb28c868"),
        ("1.5", "a5e6c6a9bcf00adc"),
        ("", "6a9095e38ef7bd44"),
    ],
)
def test_a_name_that_is_in_ledgers_keeps_its_mark(name, digest):
    assert marks((name,), columns=("id",), patient="id")[0, 1].tobytes().hex().startswith(digest)
