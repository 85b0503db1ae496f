from __future__ import annotations

from pathlib import Path

import pytest

from secagg.errors import InputError
from training.readers import read_images, read_table


@pytest.mark.parametrize("name", ["site.csv", "site.data", "site.TXT"])
def test_text_is_read_by_its_suffix(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("a,b\n1,2\n")
    assert read_table(tmp_path / name, ()).rows == (("1", "2"),)


@pytest.mark.parametrize("name", ["site.xlsx", "site"])
def test_a_format_that_nobody_reads_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    for read in (lambda path: read_table(path, ()), lambda path: read_images(path, 8, 1, ())):
        with pytest.raises(InputError) as caught:
            read(tmp_path / name)
        assert caught.value.reason == "unknown-format"
        assert name in caught.value.message


@pytest.mark.parametrize("name", ["site.csv", "site.parquet", "site.npz::train", "site", "site.xlsx"])
def test_a_path_that_leads_nowhere_is_said_to_whatever_its_suffix(tmp_path: Path, name: str) -> None:
    for read in (lambda path: read_table(path, ()), lambda path: read_images(path, 8, 1, ())):
        with pytest.raises(InputError, match=r"site.*: No such file or folder\.") as caught:
            read(tmp_path / name)
        assert caught.value.reason == "unreadable-file"
