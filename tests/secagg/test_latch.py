"""What was revealed stays revealed: across restarts, processes and kill -9."""

from __future__ import annotations

import os
import signal
import sqlite3
import stat
import subprocess
import sys

import pytest

from secagg.errors import InputError, LocalProtocolError, RemoteProtocolError, SecaggError, TamperingError
from secagg.latch import Cohort, Latch, read_logs
from secagg.signed_log import LogPlace
from tests.support.read_only_media import mounted_read_only

CHARTER = bytes(32)
OTHER = bytes([1]) * 32
ALL = (1, 2, 3, 4, 5)
SOME = (1, 2, 3, 4)
OCCASION = bytes([2]) * 32


@pytest.fixture
def path(tmp_path):
    return tmp_path / "latch.sqlite"


@pytest.fixture
def latch(path):
    with Latch(path) as latch:
        yield latch


def reason(call, *arguments) -> str:
    with pytest.raises(SecaggError) as caught:
        call(*arguments)
    return caught.value.reason


def test_a_new_latch_remembers_nothing_and_is_private(latch, path):
    assert (latch.last_epoch(CHARTER), latch.last_round(CHARTER)) == (0, 0)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_all_that_sqlite_puts_beside_a_new_latch_is_private_too(tmp_path):
    before = os.umask(0o022)
    try:
        with Latch(tmp_path / "new" / "latch.sqlite") as latch:
            latch.record_epoch(CHARTER, 1)
            modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in (tmp_path / "new").iterdir()}
    finally:
        os.umask(before)
    assert {"latch.sqlite", "latch.sqlite-wal", "latch.sqlite-shm"} <= set(modes)
    assert set(modes.values()) == {0o600}


def test_epochs_only_go_up(latch):
    latch.record_epoch(CHARTER, 3)
    for epoch in (1, 2, 3):
        assert reason(latch.record_epoch, CHARTER, epoch) == "stale-epoch"
    latch.record_epoch(CHARTER, 7)
    assert latch.last_epoch(CHARTER) == 7


def test_rounds_only_go_up_even_across_epochs(latch):
    latch.record_epoch(CHARTER, 1)
    latch.record_masked(CHARTER, 1, 5)
    for number in (1, 4, 5):
        assert reason(latch.record_masked, CHARTER, 1, number) == "round-already-masked"
    latch.record_epoch(CHARTER, 2)
    assert latch.last_round(CHARTER) == 5
    assert reason(latch.record_masked, CHARTER, 2, 5) == "round-already-masked"
    latch.record_masked(CHARTER, 2, 6)
    assert latch.last_round(CHARTER) == 6


def test_a_round_is_revealed_once_and_only_after_it_was_masked(latch):
    latch.record_epoch(CHARTER, 1)
    assert reason(latch.record_revealed, CHARTER, 1, 1, ALL, OCCASION) == "already-revealed"
    latch.record_masked(CHARTER, 1, 1)
    latch.record_revealed(CHARTER, 1, 1, ALL, OCCASION)
    for survivors in (ALL, SOME):
        assert reason(latch.record_revealed, CHARTER, 1, 1, survivors, OCCASION) == "already-revealed"
        assert reason(latch.record_agreed, CHARTER, 1, 1, survivors) == "already-answered"
    latch.record_masked(CHARTER, 1, 2)
    assert reason(latch.record_revealed, CHARTER, 1, 1, ALL, OCCASION) == "already-revealed"
    latch.record_revealed(CHARTER, 1, 2, ALL, OCCASION)


def test_a_round_is_agreed_to_once_and_only_after_it_was_masked(latch):
    latch.record_epoch(CHARTER, 1)
    assert reason(latch.record_agreed, CHARTER, 1, 1, SOME) == "already-answered"
    latch.record_masked(CHARTER, 1, 1)
    latch.record_agreed(CHARTER, 1, 1, SOME)
    for survivors in (SOME, ALL):
        assert reason(latch.record_agreed, CHARTER, 1, 1, survivors) == "already-answered"


def test_after_an_agreement_only_the_agreed_survivors_are_answered_for(latch):
    latch.record_epoch(CHARTER, 1)
    latch.record_masked(CHARTER, 1, 1)
    latch.record_agreed(CHARTER, 1, 1, SOME)
    for others in (ALL, (1, 2, 3, 5), ()):
        assert reason(latch.record_revealed, CHARTER, 1, 1, others, OCCASION) == "already-revealed"
    assert latch.cohorts(CHARTER, OCCASION) == ()
    latch.record_revealed(CHARTER, 1, 1, SOME, OCCASION)


def test_an_agreement_of_one_round_does_not_bind_the_next(latch):
    latch.record_epoch(CHARTER, 1)
    latch.record_masked(CHARTER, 1, 1)
    latch.record_agreed(CHARTER, 1, 1, SOME)
    latch.record_masked(CHARTER, 1, 2)
    assert reason(latch.record_agreed, CHARTER, 1, 1, SOME) == "already-answered"
    latch.record_revealed(CHARTER, 1, 2, ALL, OCCASION)


def test_a_round_masked_in_an_earlier_epoch_cannot_be_answered_once_a_later_one_was_entered(latch):
    latch.record_epoch(CHARTER, 1)
    latch.record_masked(CHARTER, 1, 1)
    latch.record_epoch(CHARTER, 2)
    assert reason(latch.record_agreed, CHARTER, 1, 1, SOME) == "already-answered"
    assert reason(latch.record_revealed, CHARTER, 1, 1, SOME, OCCASION) == "already-revealed"


def test_cohorts_are_remembered_by_occasion_and_charter_each_once(latch):
    latch.record_epoch(CHARTER, 1)
    for number, (survivors, occasion) in enumerate([(ALL, OCCASION), (ALL, OCCASION), (SOME, OTHER)], 1):
        latch.record_masked(CHARTER, 1, number)
        latch.record_revealed(CHARTER, 1, number, survivors, occasion)
    assert latch.cohorts(CHARTER, OCCASION) == (Cohort(1, frozenset(ALL)),)
    assert latch.cohorts(CHARTER, OTHER) == (Cohort(1, frozenset(SOME)),)
    assert latch.cohorts(OTHER, OCCASION) == ()


def test_a_survivor_set_is_the_same_in_any_order(latch):
    latch.record_epoch(CHARTER, 1)
    latch.record_masked(CHARTER, 1, 1)
    latch.record_agreed(CHARTER, 1, 1, (4, 2, 10, 1))
    latch.record_revealed(CHARTER, 1, 1, (1, 2, 4, 10), OCCASION)
    assert latch.cohorts(CHARTER, OCCASION) == (Cohort(1, frozenset({1, 2, 4, 10})),)


def test_a_new_epoch_forgets_no_cohort(latch):
    latch.record_epoch(CHARTER, 1)
    latch.record_masked(CHARTER, 1, 1)
    latch.record_revealed(CHARTER, 1, 1, ALL, OCCASION)
    latch.record_epoch(CHARTER, 2)
    assert latch.cohorts(CHARTER, OCCASION) == (Cohort(1, frozenset(ALL)),)


def test_masking_in_an_epoch_that_was_not_entered_is_a_bug_of_the_caller(latch):
    with pytest.raises(LocalProtocolError) as caught:
        latch.record_masked(CHARTER, 1, 1)
    assert caught.value.reason == "not-in-epoch"


def test_masking_in_an_epoch_that_was_left_is_a_bug_of_the_caller(latch):
    latch.record_epoch(CHARTER, 1)
    latch.record_epoch(CHARTER, 2)
    assert reason(latch.record_masked, CHARTER, 1, 1) == "not-in-epoch"
    assert latch.last_round(CHARTER) == 0


def test_charters_do_not_disturb_one_another(latch):
    latch.record_epoch(CHARTER, 9)
    latch.record_masked(CHARTER, 9, 9)
    latch.record_epoch(OTHER, 1)
    latch.record_masked(OTHER, 1, 1)
    latch.record_revealed(OTHER, 1, 1, ALL, OCCASION)
    latch.record_revealed(CHARTER, 9, 9, ALL, OCCASION)


def test_a_restart_forgets_nothing(path):
    with Latch(path) as latch:
        latch.record_epoch(CHARTER, 2)
        latch.record_masked(CHARTER, 2, 4)
        latch.record_revealed(CHARTER, 2, 4, ALL, OCCASION)
        latch.record_masked(CHARTER, 2, 5)
        latch.record_agreed(CHARTER, 2, 5, SOME)
    with Latch(path) as latch:
        assert (latch.last_epoch(CHARTER), latch.last_round(CHARTER)) == (2, 5)
        assert reason(latch.record_revealed, CHARTER, 2, 4, ALL, OCCASION) == "already-revealed"
        assert reason(latch.record_agreed, CHARTER, 2, 5, ALL) == "already-answered"
        assert reason(latch.record_revealed, CHARTER, 2, 5, ALL, OCCASION) == "already-revealed"
        assert latch.cohorts(CHARTER, OCCASION) == (Cohort(2, frozenset(ALL)),)


CHILD = """
import os, signal, sys
from pathlib import Path
from secagg.latch import Latch
latch = Latch(Path(sys.argv[1]))
steps = [lambda: latch.record_epoch(bytes(32), 1), lambda: latch.record_masked(bytes(32), 1, 1),
         lambda: latch.record_agreed(bytes(32), 1, 1, (1, 2, 3, 4)),
         lambda: latch.record_revealed(bytes(32), 1, 1, (1, 2, 3, 4), bytes([2]) * 32)]
for step in steps[:int(sys.argv[2])]:
    step()
if sys.argv[3] == "die":
    os.kill(os.getpid(), signal.SIGKILL)
print("holding", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("steps", [1, 2, 3, 4])
def test_a_record_survives_kill_9_right_after_it(path, steps):
    child = subprocess.run([sys.executable, "-c", CHILD, path, str(steps), "die"], check=False)
    assert child.returncode == -signal.SIGKILL
    with Latch(path) as latch:
        assert reason(latch.record_epoch, CHARTER, 1) == "stale-epoch"
        assert latch.last_round(CHARTER) == (1 if steps > 1 else 0)
        if steps == 3:
            assert reason(latch.record_revealed, CHARTER, 1, 1, ALL, OCCASION) == "already-revealed"
        if steps in (2, 3):
            latch.record_revealed(CHARTER, 1, 1, SOME, OCCASION)
        assert reason(latch.record_revealed, CHARTER, 1, 1, SOME, OCCASION) == "already-revealed"
        assert latch.cohorts(CHARTER, OCCASION) == ((Cohort(1, frozenset(SOME)),) if steps > 1 else ())


def test_a_cohort_and_that_the_round_was_revealed_are_remembered_together(latch):
    """Cut off between the two, a site remembers neither, and nothing has left."""
    latch.record_epoch(CHARTER, 1)
    latch.record_masked(CHARTER, 1, 1)
    latch._database.set_authorizer(
        lambda action, *_: sqlite3.SQLITE_DENY if action == sqlite3.SQLITE_UPDATE else sqlite3.SQLITE_OK
    )
    assert reason(latch.record_revealed, CHARTER, 1, 1, ALL, OCCASION) == "latch-damaged"
    latch._database.set_authorizer(None)
    assert latch.cohorts(CHARTER, OCCASION) == ()
    latch.record_revealed(CHARTER, 1, 1, ALL, OCCASION)
    assert latch.cohorts(CHARTER, OCCASION) == (Cohort(1, frozenset(ALL)),)


def test_how_far_the_logs_had_come_is_remembered_with_the_round_that_is_masked(latch):
    first, second = (
        {"ledger": LogPlace(1, "a" * 64)},
        {"ledger": LogPlace(2, "b" * 64), "egress": LogPlace(1, "c" * 64)},
    )
    latch.record_epoch(CHARTER, 1)
    latch.record_masked(CHARTER, 1, 1, first)
    assert latch.logs() == first
    assert reason(latch.record_masked, CHARTER, 1, 1, second) == "round-already-masked"
    assert latch.logs() == first
    latch.record_masked(CHARTER, 1, 2, second)
    assert latch.logs() == second


def test_a_latch_that_cannot_be_written_lets_nothing_leave(latch):
    latch.record_epoch(CHARTER, 1)
    latch._database.execute("PRAGMA query_only = ON")
    assert reason(latch.record_epoch, CHARTER, 2) == "unwritable"
    assert reason(latch.record_masked, CHARTER, 1, 1) == "unwritable"
    assert (latch.last_epoch(CHARTER), latch.last_round(CHARTER)) == (1, 0)


def test_a_closed_latch_that_can_only_be_read_is_read(tmp_path):
    path = tmp_path / "site" / "latch.sqlite"
    with Latch(path) as latch:
        latch.record_logs({"ledger": LogPlace(1, "a" * 64)})
    with mounted_read_only(path.parent) as place:
        assert read_logs(place / path.name) == {"ledger": LogPlace(1, "a" * 64)}


def test_two_processes_cannot_hold_one_latch(path):
    with subprocess.Popen(
        [sys.executable, "-c", CHILD, path, "1", "wait"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout.readline() == b"holding\n"
        with pytest.raises(InputError) as caught:
            Latch(path)
        assert caught.value.reason == "state-in-use"
        child.stdin.close()
        assert child.wait() == 0
    with Latch(path) as latch:
        assert latch.last_epoch(CHARTER) == 1


def test_one_process_cannot_open_a_latch_twice(latch, path):
    with pytest.raises(InputError) as caught:
        Latch(path)
    assert caught.value.reason == "state-in-use"


def test_a_damaged_file_is_tampering_and_not_a_fresh_start(path):
    with Latch(path) as latch:
        latch.record_epoch(CHARTER, 1)
    path.write_bytes(b"\x00" * 4096)
    with pytest.raises(TamperingError) as caught:
        Latch(path)
    assert caught.value.reason == "latch-damaged"
    assert caught.value.exit_code == 4
    with pytest.raises(TamperingError):
        Latch(path)  # The refusal let go of the lock: the second is told the same, not "in use".


def test_a_file_where_a_folder_is_needed_is_unwritable(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InputError) as caught:
        Latch(tmp_path / "file" / "latch.sqlite")
    assert caught.value.reason == "unwritable"


def test_a_refused_record_changes_nothing(latch):
    latch.record_epoch(CHARTER, 1)
    latch.record_masked(CHARTER, 1, 2)
    for call, arguments in (
        (latch.record_epoch, (CHARTER, 1)),
        (latch.record_masked, (CHARTER, 1, 2)),
        (latch.record_agreed, (CHARTER, 1, 1, SOME)),
        (latch.record_revealed, (CHARTER, 1, 1, ALL, OCCASION)),
    ):
        with pytest.raises(RemoteProtocolError):
            call(*arguments)
    assert (latch.last_epoch(CHARTER), latch.last_round(CHARTER)) == (1, 2)
    assert latch.cohorts(CHARTER, OCCASION) == ()
    latch.record_revealed(CHARTER, 1, 2, ALL, OCCASION)
