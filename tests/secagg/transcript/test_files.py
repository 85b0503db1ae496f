"""Transcripts read back as they were written; what is cut off or nonsense is found before it is used."""

from __future__ import annotations

import os
import resource

import pytest

from secagg.errors import InputError, TamperingError
from secagg.masking.journal import Around, TimedOut
from secagg.transcript import TranscriptWriter, cut_to_whole_events, read_events, transcript_files
from tests.support.transcripts import ANY_SIZE


def test_a_transcript_reads_back_as_it_was_written(recorded, tmp_path):
    _, events, _ = recorded
    write = TranscriptWriter(tmp_path / "kept", 1)
    for event in events:
        write(event)
    (path,) = transcript_files(tmp_path / "kept")
    assert list(read_events(path, ANY_SIZE)) == events
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("cut", [1, 7, 9])
def test_a_file_that_is_cut_off_is_found(written, cut):
    written.write_bytes(written.read_bytes()[:-cut])
    with pytest.raises(TamperingError) as caught:
        list(read_events(written, ANY_SIZE))
    assert caught.value.reason == "transcript-damaged"


def test_lists_in_lists_without_end_are_no_event(written):
    """Before the field that says which event it is, so that all of it is read over to find that."""
    nested = b"\x82\xa1x" + b"\x91" * 100_000
    written.write_bytes(len(nested).to_bytes(8, "big") + nested)
    with pytest.raises(TamperingError) as caught:
        list(read_events(written, ANY_SIZE))
    assert caught.value.reason == "transcript-damaged"


@pytest.mark.parametrize("prefix", [b"\xff" * 8, (1 << 62).to_bytes(8, "big"), bytes(7) + b"\x05nonsense"])
def test_lengths_and_events_of_nonsense_are_refused_before_anything_is_allocated(written, prefix):
    written.write_bytes(prefix + written.read_bytes())
    with pytest.raises(TamperingError) as caught:
        list(read_events(written, ANY_SIZE))
    assert caught.value.reason == "transcript-damaged"


def test_a_folder_without_transcripts_says_so(tmp_path):
    with pytest.raises(InputError) as caught:
        transcript_files(tmp_path)
    assert caught.value.reason == "no-transcript"


def test_a_place_that_cannot_be_written_to_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError) as caught:
        TranscriptWriter(tmp_path / "file" / "below", 1)(TimedOut())
    assert caught.value.reason == "unwritable"


def test_an_event_for_which_there_is_no_room_leaves_the_file_as_it_was(written):
    whole = written.read_bytes()
    write = TranscriptWriter(written.parent, 1)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    # As a full disk does: so much of it is written, and then no more.
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole) + 5, before[1]))
    try:
        with pytest.raises(InputError) as caught:
            write(Around(1, bytes(1000)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert caught.value.reason == "unwritable"
    assert written.read_bytes() == whole


def test_what_a_killed_process_could_not_finish_is_cut_off_before_anything_is_appended(written, recorded):
    whole = written.read_bytes()
    written.write_bytes(whole[:-3])
    TranscriptWriter(written.parent, 1)(TimedOut())
    assert list(read_events(written, ANY_SIZE)) == [*recorded[1][:-1], TimedOut()]


@pytest.mark.parametrize("zeros", [8, 4096])
def test_zeros_that_a_power_cut_left_at_the_end_are_cut_off_before_anything_is_appended(written, recorded, zeros):
    whole = written.read_bytes()
    written.write_bytes(whole + bytes(zeros))
    cut_to_whole_events(written.parent)
    assert written.read_bytes() == whole
    written.write_bytes(whole + bytes(zeros))
    TranscriptWriter(written.parent, 1)(TimedOut())
    assert list(read_events(written, ANY_SIZE)) == [*recorded[1], TimedOut()]


def test_an_event_larger_than_any_message_and_what_is_no_file_are_not_read(written, tmp_path):
    with pytest.raises(TamperingError):
        list(read_events(written, 10))
    os.mkfifo(written.with_name("epoch-000007.transcript"))
    assert transcript_files(written.parent) == (written,)
