from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from secagg.errors import InputError
from training.readers.parquet import read_parquet


def test_cells_become_text_that_reads_back_the_same(tmp_path: Path) -> None:
    path = tmp_path / "site.parquet"
    pq.write_table(pa.table({"x": [0.1, None], "n": [7, -1], "ok": [True, False], "s": [" a ", ""]}), path)
    table = read_parquet(path)
    assert table.columns == ("x", "n", "ok", "s")
    assert table.rows == (("0.1", "7", "1", "a"), ("", "-1", "0", ""))
    assert table.places == ("row 1", "row 2")


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
