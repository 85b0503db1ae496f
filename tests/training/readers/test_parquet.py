from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dp.ledger.patients import PatientList, groups_of
from dp.patient_digests import list_of, row_digests
from secagg.errors import InputError
from tests.support.hospitals import tabular_spec
from training.readers.parquet import read_parquet
from training.tasks.tabular import TabularTask


def test_cells_become_text_that_reads_back_the_same(tmp_path: Path) -> None:
    path = tmp_path / "site.parquet"
    pq.write_table(pa.table({"x": [0.1, None], "n": [7, -1], "ok": [True, False], "s": [" a ", ""]}), path)
    table = read_parquet(path)
    assert table.columns == ("x", "n", "ok", "s")
    assert table.rows == (("0.1", "7", "1", "a"), ("", "-1", "0", ""))
    assert table.places == ("row 1", "row 2")


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary(), pa.binary(6), pa.dictionary(pa.int8(), pa.binary())])
def test_bytes_are_text_whatever_the_writer_calls_them(tmp_path: Path, kind: pa.DataType) -> None:
    path = tmp_path / "site.parquet"
    pq.write_table(pa.table({"id": pa.array(["Jos\u00e9 1".encode()[:6], b"P-1718"]).cast(kind)}), path)
    assert read_parquet(path).rows == (("Jos\u00e9",), ("P-1718",))


def test_bytes_that_are_no_text_are_refused_by_the_columns_name(tmp_path: Path) -> None:
    path = tmp_path / "site.parquet"
    pq.write_table(pa.table({"age": [61], "scan": [b"\xff\xd8\xff"]}), path)
    with pytest.raises(InputError) as caught:
        read_parquet(path)
    assert caught.value.reason == "binary-column"
    assert "'scan'" in caught.value.message


def test_patients_are_found_again_in_a_file_whose_writer_leaves_text_as_bytes(tmp_path: Path) -> None:
    """A year later: Parquet for CSV, one value corrected and a column more, so that no row is as it was."""
    (tmp_path / "first.csv").write_text("id,age,dose,ill\nP-17,1.5,1,0\nP-18,2.5,2,1\n")
    later = {"id": pa.array([b"p-18", b"P-17"]), "age": [2.6, 1.6], "dose": [2, 1], "lab": [3.0, 4.0], "ill": [1, 0]}
    pq.write_table(pa.table(later), tmp_path / "second.parquet")
    first, second = (patients_in(tmp_path / name) for name in ("first.csv", "second.parquet"))
    assert groups_of({"first": first, "second": second})["second"] == {frozenset({"first", "second"}): 2}


def patients_in(path: Path) -> PatientList:
    records = TabularTask(tabular_spec(patient="id")).read(path)
    digests = row_digests(bytes(32), records.features, records.feature_names, records.marks)
    return list_of(digests, records.patients)


def test_nested_columns_are_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "site.parquet"
    pq.write_table(pa.table({"scan": [[1, 2]]}), path)
    with pytest.raises(InputError) as caught:
        read_parquet(path)
    assert caught.value.reason == "nested-column"
    assert "'scan'" in caught.value.message


@pytest.mark.parametrize("content", [b"", b"PAR1 not really", b"age,sick\n"])
def test_a_file_that_is_not_parquet_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "site.parquet"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_parquet(path)
    assert caught.value.reason == "unreadable-file"
    assert caught.value.culprit == str(path)


def test_a_column_name_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    pq.write_table(pa.table({"abcd": [1, 2]}), path, store_schema=False)
    path.write_bytes(path.read_bytes().replace(b"abcd", b"a\xd7cd"))
    with pytest.raises(InputError) as caught:
        read_parquet(path)
    assert caught.value.reason == "unreadable-file"


@pytest.mark.parametrize(
    "values",
    [
        # What databases export for a date without end.
        pa.array([0, (1 << 31) - 1], pa.date32()),
        pa.array([0, (1 << 62)], pa.timestamp("us")),
        pa.array([0, 1], pa.timestamp("us", tz="Nowhere/Near")),
    ],
    ids=["date", "time", "zone"],
)
def test_a_column_of_times_that_cannot_be_read_is_refused_by_name(tmp_path: Path, values: pa.Array) -> None:
    path = tmp_path / "site.parquet"
    pq.write_table(pa.table({"age": [61, 62], "seen": values}), path)
    with pytest.raises(InputError) as caught:
        read_parquet(path)
    assert (caught.value.reason, caught.value.culprit) == ("unreadable-file", str(path))
    assert "'seen'" in caught.value.message
