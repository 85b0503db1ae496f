"""Which rounds a transcript shows to be used is found at once, however large its messages are."""

from __future__ import annotations

import io
from pathlib import Path

import msgspec
import pytest

from secagg.charter.sections import MOST_MEMBERS
from secagg.masking.journal import Around, Begun, Opened, Received
from secagg.transcript import TranscriptWriter
from secagg.transcript.used import _LONGEST, last_round, newest_epoch

EVERYBODY = tuple(range(1, MOST_MEMBERS + 1))
LARGEST = (1 << 32) - 1
BEGUN = (Opened(2, "training", 5, 3, (1, 2, 3)), Begun(4), Received(1, bytes(10)), Begun(5, (1, 2)))


def written(folder: Path, *events, epoch: int = 2) -> Path:
    write = TranscriptWriter(folder, epoch)
    for event in events:
        write(event)
    return folder


@pytest.fixture
def bytes_read(monkeypatch):
    """How many bytes are read of files."""
    read = []

    class Counting(io.FileIO):
        def readinto(self, buffer):
            read.append(super().readinto(buffer))
            return read[-1]

    monkeypatch.setattr(Path, "open", lambda path, _mode: io.BufferedReader(Counting(path)))
    return read


def test_it_is_the_last_that_was_begun_in_the_newest_epoch(tmp_path):
    assert (newest_epoch(tmp_path), last_round(tmp_path)) == (0, 0)
    written(tmp_path, Around(1, b""), epoch=0)
    written(tmp_path, Opened(1, "training", 1, 3, (1, 2, 3)), Begun(1), epoch=1)
    assert (newest_epoch(tmp_path), last_round(tmp_path)) == (1, 1)
    written(tmp_path, *BEGUN)
    assert (newest_epoch(tmp_path), last_round(tmp_path)) == (2, 6)


def test_an_epoch_in_which_no_round_was_begun_shows_how_many_were_before(tmp_path):
    assert last_round(written(tmp_path, BEGUN[0])) == 4


def test_large_messages_are_not_read(tmp_path, bytes_read):
    opened, *rest = BEGUN
    size = 8 << 20
    written(tmp_path, opened, Received(1, bytes(size)), *rest, Received(2, bytes(size)), Begun(6))
    assert last_round(tmp_path) == 7
    assert 0 < sum(bytes_read) < size / 50


def test_events_of_the_largest_consortium_are(tmp_path):
    opened = Opened(LARGEST, "statistics", LARGEST - 1, LARGEST, EVERYBODY)
    begun = Begun(LARGEST, EVERYBODY)
    assert max(len(msgspec.msgpack.encode(event)) for event in (opened, begun)) < _LONGEST / 2
    assert last_round(written(tmp_path, opened, begun)) == LARGEST - 1


@pytest.mark.parametrize("size", [0, 1 << 20])
def test_a_file_whose_end_is_cut_off_shows_what_is_before(tmp_path, size):
    written(tmp_path, *BEGUN, Received(1, bytes(size)))
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-1])
    assert last_round(tmp_path) == 6
