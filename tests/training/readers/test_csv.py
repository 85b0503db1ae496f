from __future__ import annotations

from pathlib import Path

import pytest

from secagg.errors import InputError
from training.readers.csv import read_csv


def write(tmp_path: Path, content: bytes, name: str = "site.csv") -> Path:
    path = tmp_path / name
    path.write_bytes(content)
    return path


def test_a_header_names_the_columns(tmp_path: Path) -> None:
    table = read_csv(write(tmp_path, b'\xef\xbb\xbfage, sick\n"1,5", 0\n\n 2 ,1\n'), ())
    assert table.columns == ("age", "sick")
    assert table.rows == (("1,5", "0"), ("2", "1"))
    assert table.places == ("line 2", "line 4")


def test_without_a_header_the_task_names_them(tmp_path: Path) -> None:
    table = read_csv(write(tmp_path, b"1,0\n2,1\n"), ("age", "sick"))
    assert table.rows == (("1", "0"), ("2", "1"))
    assert table.places[0] == "line 1"


def test_tabs_part_the_cells_of_a_tsv(tmp_path: Path) -> None:
    assert read_csv(write(tmp_path, b"a\tb\n1,5\t2\n", "site.tsv"), ()).rows == (("1,5", "2"),)


@pytest.mark.parametrize(
    ("content", "reason", "part"),
    [
        (b"a,b\n1,2\n3\n", "ragged-row", "line 3 has 1 cells where 2"),
        (b"a,a\n1,2\n", "duplicate-column", "'a'"),
        (b"\n\n", "empty-site", "empty"),
        (b"a,b\n1,2\nM\xfcller,2\n", "unreadable-file", "line 3 is not UTF-8"),
        (b"age;bp;ill\n1,5;2;0\n", "other-separator", "parted by semicolons where commas are expected"),
        (b"age\tbp\n1\t2\n", "other-separator", "parted by tabs where commas are expected"),
        (b'"age,bp"\n"1,2"\n', "other-separator", "one cell with commas in it"),
        (b'a,b\n"1,2\n', "unreadable-file", "at line 2: unexpected end of data"),
        (b"a,b\n" + b"9" * 200_000 + b",2\n", "unreadable-file", "field limit"),
    ],
)
def test_a_file_that_is_no_table_is_refused(tmp_path: Path, content: bytes, reason: str, part: str) -> None:
    path = write(tmp_path, content)
    with pytest.raises(InputError) as caught:
        read_csv(path, ())
    assert caught.value.reason == reason
    assert part in caught.value.message
    assert caught.value.culprit == str(path)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent\.csv: No such file or directory\.$"):
        read_csv(tmp_path / "absent.csv", ())
