"""Every byte that leaves a hospital is in its own log first, and every sum it took too."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from secagg.egress import Direction, EgressLog, read_egress, sending
from secagg.errors import InputError, TamperingError
from secagg.identity import Identity
from secagg.masking.messages import Begin
from secagg.wire import Stage
from secagg.wire.envelope import peek
from tests.support.hospitals import (
    BOUNDED,
    PRIVATE_CHOICES,
    SCALED_BY_SUMS,
    RecordingEngine,
    Ward,
    choices_of,
    prepared,
    tabular_spec,
    training_of,
)
from tests.support.replies import kept_sums, read, refusal, stages, sum_with_a_traitor, word_of
from training.engines.base import Phase
from training.engines.embedded import DropOut
from training.hospital import Hospital
from training.hospital_state import HospitalState, load_state
from training.messages import Query

ROOT = Path(__file__).parents[2]
ENCRYPTED_ONLY = {Stage.ACKNOWLEDGE, Stage.SNAPSHOT}


def sha256(data) -> str:
    return hashlib.sha256(data).hexdigest()


def log_of(ward, number):
    home = ward.home(number)
    return read_egress(home.egress, Identity.load(home.identity).public_key)


def noted(ward, number, direction):
    return [entry for entry in log_of(ward, number) if entry.direction is direction]


def taken(ward, number):
    return [(entry.stage, entry.round, entry.sha256) for entry in noted(ward, number, Direction.TOOK)]


@dataclass
class Guarded:
    """A hospital behind a guard, who lets out what is in the log on disk and stops everything else."""

    ward: Ward
    number: int
    hospital: Hospital
    stopped: list[bytes] = field(default_factory=list)

    def receive(self, message):
        replies = self.hospital.receive(message)
        known = {entry.sha256 for entry in noted(self.ward, self.number, Direction.SENT)} if replies else set()
        self.stopped += [reply for reply in replies if sha256(reply) not in known]
        return replies


def guarded(ward):
    return {number: Guarded(ward, number, hospital) for number, hospital in ward.hospitals.items()}


# A whole run


@pytest.fixture
def eventful(open_ward):
    """A run with statistics, drop-outs in every phase of a round, refusals, a missed sum and a release."""
    ward = open_ward(hospitals=5, choices=choices_of(training_of(rounds=4)), spec=tabular_spec(**SCALED_BY_SUMS))
    drop_outs = [
        DropOut(2, 2, Phase.MASK),
        DropOut(3, 3, Phase.REVEAL),
        DropOut(4, 4, Phase.APPLY),
    ]
    engine = RecordingEngine(guarded(ward), drop_outs)
    ward.coordinator(engine=engine).run()
    assert len(ward.models) == 1
    return ward, engine


def test_every_message_that_left_any_hospital_was_in_its_log_before_it_left(eventful):
    ward, engine = eventful
    assert [guard.stopped for guard in engine.parties.values()] == [[]] * 5
    for number in ward.hospitals:
        left = [message for _, _, sender, message in engine.received if sender == number]
        entries = noted(ward, number, Direction.SENT)
        # In order, each once: nothing left that is not in the log, and nothing is in the log that did not leave.
        assert [entry.sha256 for entry in entries] == [sha256(message) for message in left]
        for entry, message in zip(entries, left, strict=True):
            header = peek(message)
            assert (entry.stage, entry.epoch, entry.round) == (header.stage.name, header.epoch, header.round)
            assert (entry.recipient, entry.bytes) == (header.recipient, len(message))
            assert entry.charter == ward.charter.digest.hex()


def test_limit_a_coordinator_that_asks_without_end_makes_a_log_without_end(open_ward):
    ward = open_ward()
    query = ward.forge(Stage.QUERY, Query())
    for _ in range(20):
        assert stages(ward.hospitals[1].receive(query)) == [Stage.STATUS]
        assert refusal(ward, ward.hospitals[1].receive(b"nonsense")) == "malformed"
    assert len(log_of(ward, 1)) == 40


def test_the_run_had_everything_that_a_run_can_have(eventful):
    ward, engine = eventful
    left = {peek(message).stage for _, _, _, message in engine.received}
    assert left == {stage for stage in Stage if not stage.sent_by_coordinator} - ENCRYPTED_ONLY
    assert ("h4", "missed-sum") in ward.refused
    to = {entry.recipient for entry in log_of(ward, 1) if entry.stage == "DEAL"}
    assert to == {2, 3, 4, 5}


def test_every_sum_a_hospital_took_is_in_its_log_with_the_hash_of_what_all_were_sent(eventful):
    ward, engine = eventful
    sums = {}
    for _, round_number, _, message in engine.sent:
        if peek(message).stage is Stage.SUM:
            sums[round_number] = sha256(read(ward, message).payload)
    for number in ward.hospitals:
        took = taken(ward, number)
        assert [(round_number, digest) for _, round_number, digest in took] == sorted(sums.items())
        assert {entry.recipient for entry in noted(ward, number, Direction.TOOK)} == {number}
    assert len(sums) == 5
    # The fourth missed round 4, could not take part in round 5, and was sent both sums.
    assert [stage for stage, _, _ in taken(ward, 4)] == ["SUM"] * 3 + ["MISSED_SUM"] * 2


def test_a_private_run_is_logged_likewise(open_ward):
    ward = open_ward(choices=PRIVATE_CHOICES, spec=tabular_spec(**BOUNDED))
    engine = RecordingEngine(guarded(ward))
    ward.coordinator(engine=engine).run()
    assert [guard.stopped for guard in engine.parties.values()] == [[]] * 4
    assert Counter(entry.stage for entry in log_of(ward, 1))["MASKED"] == 3


class RecordsAfterwards(Hospital):
    """The weakened build: hands its replies over, and writes them down when it is next sent something."""

    late = ()

    def receive(self, message):
        self._egress.record(*self.late)
        replies = self._answer(message)
        self.late = tuple(sending(reply, "") for reply in replies)
        return replies


def test_control_a_hospital_that_records_after_sending_would_be_caught(open_ward):
    ward = open_ward()
    ward.hospitals[2].__class__ = RecordsAfterwards
    engine = RecordingEngine(guarded(ward))
    ward.coordinator(engine=engine).run()
    assert engine.parties[2].stopped
    assert not engine.parties[1].stopped
    # Its log is whole in the end: only who looks at the moment when a message leaves can tell.
    assert len(log_of(ward, 2)) == len(log_of(ward, 1))


def test_what_is_refused_is_logged_too(open_ward):
    ward = open_ward()
    for garbage in (b"", b"garbage", ward.forge(Stage.BEGIN, Begin(1), epoch=1, round_number=1)):
        (reply,) = ward.hospitals[1].receive(garbage)
        entry = log_of(ward, 1)[-1]
        assert (entry.stage, entry.sha256, entry.recipient) == ("REFUSAL", sha256(reply), 0)


def test_a_message_that_is_answered_by_nothing_adds_nothing(open_ward):
    ward = open_ward()
    sums = ward.stop_before(Phase.APPLY, 1)
    before = len(log_of(ward, 1))
    assert ward.hospitals[1].receive(sums[1]) == []
    assert [entry.direction for entry in log_of(ward, 1)[before:]] == [Direction.TOOK]


# Sums


def test_a_sum_is_in_the_log_before_the_model_changes_on_disk(open_ward, monkeypatch):
    ward = open_ward()
    sums = ward.stop_before(Phase.APPLY, 1)
    seen = []
    save = HospitalState.save

    def spy(state, path):
        seen.append((load_state(path, ward.charter.digest).sums, len(taken(ward, 1))))
        save(state, path)

    monkeypatch.setattr(HospitalState, "save", spy)
    ward.hospitals[1].receive(sums[1])
    assert seen == [(0, 1)]
    assert taken(ward, 1) == [("SUM", 1, sha256(read(ward, sums[1]).payload))]


def test_a_forged_sum_is_not_logged_as_taken(open_ward):
    ward = open_ward()
    ward.stop_before(Phase.APPLY, 1)
    forged = sum_with_a_traitor(ward, step=2)
    assert refusal(ward, ward.hospitals[1].receive(forged)) == "step-changed"
    assert taken(ward, 1) == []


def test_sums_that_wait_for_endorsement_are_logged_when_they_are_endorsed_and_not_before(open_ward):
    ward = open_ward(hospitals=5)
    ward.stop_before(Phase.MASK, 3)
    ward.close()
    ward.state_file(2).unlink()
    ward = open_ward()
    before = taken(ward, 2)
    for message in kept_sums(ward, 1, 2):
        assert stages(ward.hospitals[2].receive(message)) == [Stage.STATUS]
    assert taken(ward, 2) == before
    ward.hospitals[2].receive(ward.forge(Stage.QUERY, Query()))
    assert refusal(ward, ward.hospitals[2].receive(word_of(ward, 1, 3))) == "nothing-to-endorse"
    assert taken(ward, 2) == before
    for message in kept_sums(ward, 1, 2):
        ward.hospitals[2].receive(message)
    assert stages(ward.hospitals[2].receive(word_of(ward, 1, 3))) == [Stage.STATUS]
    again = taken(ward, 2)[len(before) :]
    # They are the sums that it took before it lost them.
    assert [entry[1:] for entry in again] == [entry[1:] for entry in before]
    assert {stage for stage, _, _ in again} == {"MISSED_SUM"}


# A log that cannot be written


def obstruct(log: EgressLog, how: str) -> None:
    log._database.execute(f"PRAGMA {how}")


READ_ONLY, DISK_FULL = "query_only = ON", "max_page_count = 1"


@pytest.mark.parametrize("how", [READ_ONLY, DISK_FULL])
def test_where_the_log_cannot_be_written_nothing_leaves_not_even_a_refusal(open_ward, how):
    ward = open_ward()
    begin = ward.stop_before(Phase.MASK, 1)
    hospital = ward.hospitals[1]
    before, left = log_of(ward, 1), []
    obstruct(hospital._egress, how)
    query = ward.forge(Stage.QUERY, Query())

    def insist():
        # On a full disk there may be room for some entries in the last page.
        for _ in range(100):
            left.extend(hospital.receive(query))

    with pytest.raises(InputError) as caught:
        insist()
    assert (caught.value.reason, caught.value.culprit) == ("unwritable", str(ward.home(1).egress))
    for message in (begin[1], b"garbage", query):
        with pytest.raises(InputError):
            hospital.receive(message)
    assert [entry.sha256 for entry in log_of(ward, 1)[len(before) :]] == [sha256(message) for message in left]
    assert left == [] or how == DISK_FULL


def test_a_sum_that_cannot_be_logged_is_not_taken_and_is_sent_again_later(open_ward):
    ward = open_ward()
    sums = ward.stop_before(Phase.APPLY, 1)
    hospital = ward.hospitals[1]
    obstruct(hospital._egress, READ_ONLY)
    with pytest.raises(InputError) as caught:
        hospital.receive(sums[1])
    assert caught.value.reason == "unwritable"
    assert (hospital.state.sums, load_state(ward.state_file(1), ward.charter.digest).sums) == (0, 0)
    obstruct(hospital._egress, "query_only = OFF")
    ward.coordinator().run()
    assert ward.sums == [3, 3, 3, 3]
    assert len(ward.models) == 1
    assert [round_number for _, round_number, _ in taken(ward, 1)] == [1, 2, 3]


def test_control_where_the_log_can_be_written_the_same_messages_are_answered(open_ward):
    ward = open_ward()
    begin = ward.stop_before(Phase.MASK, 1)
    assert stages(ward.hospitals[1].receive(begin[1])) == [Stage.MASKED]
    assert stages(ward.hospitals[1].receive(b"garbage")) == [Stage.REFUSAL]


# Restarts


def test_a_hospital_with_an_altered_log_does_not_start_and_lets_go_of_its_files(open_ward):
    ward = open_ward()
    ward.coordinator().run()
    log = ward.home(3).egress
    ward.close()
    whole = log.read_bytes()
    at = whole.index(b'"stage":"MASKED"')
    log.write_bytes(whole[:at] + b'"stage":"SASKED"' + whole[at + 16 :])
    for _ in range(2):
        with pytest.raises(TamperingError) as caught:
            open_ward()
        assert caught.value.reason == "egress-altered"
        assert str(log) in caught.value.message
    log.write_bytes(whole)
    open_ward()


def test_one_log_serves_all_charters_of_a_hospital_and_goes_on_after_a_restart(open_ward):
    ward = open_ward()
    ward.stop_before(Phase.MASK, 2)
    before = log_of(ward, 1)
    ward.close()
    ward = open_ward()
    ward.coordinator().run()
    after = log_of(ward, 1)
    assert after[: len(before)] == before
    assert [entry.sequence for entry in after] == list(range(1, len(after) + 1))


DYING = """
import hashlib, os, signal, sys
from pathlib import Path
import torch
from tests.support.hospitals import Ward

torch.set_num_threads(1)


class Dying:
    '''A hospital that tells what leaves it, and is killed when enough has.'''

    left = 0

    def __init__(self, number, hospital):
        self.number, self.hospital = number, hospital

    def receive(self, message):
        replies = self.hospital.receive(message)
        for reply in replies:
            print(self.number, hashlib.sha256(reply).hexdigest(), flush=True)
            Dying.left -= 1
            if Dying.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return replies


def work(run, count):
    Dying.left = count
    ward = Ward.open(run)
    ward.hospitals = {number: Dying(number, hospital) for number, hospital in ward.hospitals.items()}
    ward.coordinator().run()


# One import for all: a fork for each moment to die.
for run, count in zip(map(Path, sys.argv[1::2]), map(int, sys.argv[2::2])):
    child = os.fork()
    if child == 0:
        work(run, count)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    print("ended", count, -os.waitstatus_to_exitcode(status), flush=True)
"""
COUNTS = (6, 23, 30)


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """By count a run that was killed: its folder, the signal, and what had left: of whom, and its hash."""
    folder = tmp_path_factory.mktemp("killed")
    runs = {count: prepared(folder / str(count), 4, choices_of()) for count in COUNTS}
    command = [sys.executable, "-c", DYING, *(part for count, run in runs.items() for part in (run, str(count)))]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    said = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True, cwd=ROOT, env=environment).stdout
    found, left = {}, []
    for line in said.splitlines():
        first, *rest = line.split()
        if first == "ended":
            count, number = map(int, rest)
            found[count], left = (runs[count], number, left), []
        else:
            left.append((int(first), rest[0]))
    return found


@pytest.mark.parametrize("count", COUNTS)
def test_after_kill_9_the_moment_a_message_has_left_it_is_in_the_log(killed, count):
    run, number, left = killed[count]
    assert (number, len(left)) == (signal.SIGKILL, count)
    with Ward.open(run) as ward:
        for number in ward.hospitals:
            known = [entry.sha256 for entry in noted(ward, number, Direction.SENT)]
            seen = [digest for member, digest in left if member == number]
            # What was about to leave with the same message may be in the log without having left, never the reverse.
            assert known[: len(seen)] == seen
        ward.coordinator().run()
        assert ward.sums == [3, 3, 3, 3]
