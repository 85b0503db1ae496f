"""The coordinator's record of every round: what a kill or a full disk leaves of it, and how long it may become."""

from __future__ import annotations

import msgspec
import pytest

from secagg.errors import InputError, TamperingError
from secagg.masking import Purpose
from training import json_lines
from training.coordinator_store import CoordinatorStore, round_log
from training.round_record import RefusalRecord, RoundRecord

CHARTER = bytes(32)


def record_of(number, members=3):
    names = tuple(f"h{member}" for member in range(members))
    refusal = RefusalRecord("h1", "other-model", "Two lines:\none and another.")
    return RoundRecord(number, Purpose.TRAINING, number, names, (), (), (refusal,), None, 1, 2, 0.5)


def test_rounds_are_there_again_in_order(tmp_path):
    path = tmp_path / "coordinator/rounds.jsonl"
    log = round_log(path.parent)
    written = tuple(record_of(number) for number in range(1, 5))
    for record in written:
        log.append(record)
    assert log.records == round_log(path.parent).records == written
    assert path.stat().st_mode & 0o777 == 0o600
    assert len(path.read_bytes().splitlines()) == 4


def test_who_is_in_the_sum_is_written_as_the_cohort(tmp_path):
    round_log(tmp_path).append(record_of(1))
    assert b'"cohort":["h0","h1","h2"]' in (tmp_path / "rounds.jsonl").read_bytes()


def test_a_line_that_was_cut_off_anywhere_is_no_round_and_the_next_takes_its_place(tmp_path):
    path = tmp_path / "rounds.jsonl"
    log = round_log(path.parent)
    log.append(record_of(1))
    whole = path.read_bytes()
    log.append(record_of(2))
    for end in range(len(whole), len(path.read_bytes()), 7):
        path.write_bytes((whole + whole)[:end])
        again = round_log(path.parent)
        assert again.records == (record_of(1),)
        again.append(record_of(3))
        assert round_log(path.parent).records == (record_of(1), record_of(3))


def test_a_round_that_found_no_room_is_not_taken_for_one_and_spoils_no_other(tmp_path, monkeypatch):
    log = round_log(tmp_path)
    log.append(record_of(1))
    with monkeypatch.context() as patched:

        def full(descriptor):
            raise OSError(28, "No space left on device")

        patched.setattr(json_lines.os, "fsync", full)
        with pytest.raises(InputError) as caught:
            log.append(record_of(2))
    assert caught.value.reason == "unwritable"
    assert log.records == (record_of(1),)
    log.append(record_of(3))
    assert round_log(tmp_path).records == (record_of(1), record_of(3))


def test_what_another_process_adds_is_read_without_what_was_read_before(tmp_path):
    path = tmp_path / "rounds.jsonl"
    reader, writer = round_log(path.parent), round_log(path.parent)
    assert reader.read_on() == ()
    writer.append(record_of(1))
    assert reader.read_on() == (record_of(1),)
    first = path.stat().st_size
    writer.append(record_of(2))
    whole = path.read_bytes()
    path.write_bytes(b"?" * (first - 1) + whole[first - 1 : -1])
    assert reader.read_on() == ()
    path.write_bytes(b"?" * (first - 1) + whole[first - 1 :])
    assert reader.read_on() == (record_of(2),)
    assert reader.read_on() == ()
    assert reader.records == (record_of(1), record_of(2))


OTHER_PURPOSE = msgspec.json.encode(record_of(2)).replace(b'"training"', b'"trainings"') + b"\n"


@pytest.mark.parametrize(
    "damage",
    [b"{}\n", b"no record\n", b"\xff\n", b"\n", OTHER_PURPOSE],
    ids=["empty", "text", "bytes", "blank", "purpose"],
)
def test_a_line_that_is_no_round_is_damage(tmp_path, damage):
    path = tmp_path / "rounds.jsonl"
    round_log(path.parent).append(record_of(1))
    path.write_bytes(path.read_bytes() + damage)
    with pytest.raises(TamperingError) as caught:
        _ = round_log(path.parent).records
    assert (caught.value.reason, caught.value.culprit) == ("damaged-coordinator-state", str(path))


def test_a_coordinator_of_a_thousand_hospitals_starts_after_three_thousand_rounds(tmp_path):
    store = CoordinatorStore(tmp_path, CHARTER)
    store.update(epoch=1, round=3000)
    line = msgspec.json.encode(record_of(1, members=1000)) + b"\n"
    (tmp_path / "rounds.jsonl").write_bytes(line.replace(b'"h', b'"a-hospital-of-the-consortium-') * 3000)
    again = CoordinatorStore(tmp_path, CHARTER)
    assert len(again.rounds) == 3000
    again.add_round(record_of(3001))
    again.update(round=3002)
    assert (tmp_path / "coordinator.json").stat().st_size < 1000
    assert CoordinatorStore(tmp_path, CHARTER).state.round == 3002
