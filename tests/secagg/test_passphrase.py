"""A passphrase file is one that another process finds too, or a pipe that is read once."""

from __future__ import annotations

import os

import pytest

from secagg.passphrase import is_lasting


def test_a_file_lasts_and_so_does_a_link_to_one(tmp_path):
    (tmp_path / "passphrase.txt").write_text("correct horse")
    (tmp_path / "link.txt").symlink_to("passphrase.txt")
    assert is_lasting(tmp_path / "passphrase.txt")
    assert is_lasting(tmp_path / "link.txt")


def test_neither_a_pipe_lasts_nor_a_file_by_the_name_that_only_this_process_has_for_it(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert not is_lasting(tmp_path / "pipe")
    with (tmp_path / "passphrase.txt").open("w") as file:
        for place in ("/dev/fd", "/proc/self/fd"):
            opened = tmp_path.joinpath(place) / str(file.fileno())
            if not opened.is_file():
                pytest.skip(f"there is no {place} here")
            assert not is_lasting(opened)
