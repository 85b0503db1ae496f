"""What a hospital has answered or refused is never forgotten: killed at every write, two at once, on a full disk."""

from __future__ import annotations

import shutil
import signal
import sqlite3
import tempfile
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from dp.events import GaussianEvent
from dp.ledger import Cost, Kind, Ledger
from dp.ledger.entries import LEDGER
from dp.ledger.store import Budget
from secagg.egress import read_egress
from secagg.errors import InputError, RemoteProtocolError
from secagg.latch import Latch
from secagg.masking.states import ClientState
from secagg.signed_log import read_log
from secagg.wire import Stage
from secagg.wire.envelope import peek
from tests.faults import full_disk
from tests.faults.full_disk import KEPT, NOT_TO_BE_HAD, REFUSED, Starved, StarvedAtTheEnd
from tests.faults.latch_driver import (
    ALL,
    CHARTER,
    HEARD,
    IDENTITIES,
    IN_USE,
    LEFT,
    SOME,
    STOPPED,
    VICTIM,
    BatchingLatch,
    consortium_of,
    hear,
    hospital,
    in_a_process,
    latch_of,
    open_latch,
    read_messages,
    run_until_killed,
)
from tests.faults.sqlite_writes import Moment
from tests.support.misbehaving import MisbehavingCoordinator

OF_A_ROUND = {Stage.MASKED, Stage.AGREE, Stage.REVEAL}
WHOLE_PLAY = [
    Stage.ADVERTISE,
    *[Stage.DEAL] * (len(ALL) - 1),
    Stage.MASKED,
    Stage.REVEAL,
    Stage.MASKED,
    Stage.AGREE,
    Stage.REVEAL,
]


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    """A play that nothing cut short: what was heard, what left, and how many writes it took."""
    folder = tmp_path_factory.mktemp("whole")
    code = run_until_killed(folder)
    assert code == 0
    assert [peek(message).stage for message in read_messages(folder / LEFT)] == WHOLE_PLAY
    assert (folder / STOPPED).exists()
    return folder


@pytest.fixture
def ram_disk():
    """A folder in memory, where there is one: what kill -9 leaves behind is the same, and flushing is free."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        yield Path(folder)


def refused(call, *arguments) -> bool:
    try:
        call(*arguments)
    except RemoteProtocolError:
        return True
    return False


# --- What must hold after any end -------------------------------------------------------------------------------


def assert_remembered(path, left, stopped):
    """The latch knows of everything that left."""
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    with Latch(path) as latch:
        for header in map(peek, left):
            digest, epoch, number = CHARTER.digest, header.epoch, header.round
            assert latch.last_epoch(digest) >= epoch
            if header.stage in OF_A_ROUND:
                assert latch.last_round(digest) >= number
                assert refused(latch.record_masked, digest, epoch, number)
            if header.stage in (Stage.AGREE, Stage.REVEAL):
                assert refused(latch.record_agreed, digest, epoch, number, ALL)
                assert refused(latch.record_agreed, digest, epoch, number, SOME)
            if header.stage is Stage.REVEAL:
                for survivors in (ALL, SOME):
                    assert refused(latch.record_revealed, digest, epoch, number, survivors, bytes(32))
        if stopped:
            assert latch.is_stopped(CHARTER.digest)


def assert_one_answer_each(left):
    """For a round, and for a peer in an epoch, there is one answer at most."""
    answers = defaultdict(set)
    for message in left:
        header = peek(message)
        number = header.round if header.stage in OF_A_ROUND else header.epoch
        answers[header.stage, number, header.recipient].add(message)
    assert {key: len(messages) for key, messages in answers.items() if len(messages) > 1} == {}


def assert_bound_by_what_was_revealed(folder, left):
    """In a new epoch, a step whose shares have left is summed over the same hospitals or not at all."""
    revealed = [peek(message).round for message in left if peek(message).stage is Stage.REVEAL]
    with Latch(latch_of(folder)) as latch:
        # The others go on from what they remember; of hospitals that remember nothing the victim would say so.
        made = consortium_of(folder / "others", hospital(VICTIM, latch))
        coordinator = MisbehavingCoordinator(made.charter, made.clients, epoch=2, first_round=3)
        if (folder / STOPPED).exists():
            assert made.clients[VICTIM].state is ClientState.STOPPED
            assert refused(coordinator.open, [VICTIM])
            return
        coordinator.set_up()
        coordinator.begin(step=1)
        zeros = coordinator.session.ring.zeros(coordinator.session.length)
        coordinator.collect(dict.fromkeys(ALL, zeros))
        if 1 in revealed:
            assert refused(coordinator.propose, VICTIM, SOME)
        coordinator.ask(VICTIM, ALL)


def assert_nothing_forgotten(folder):
    """All of it, for a hospital that is started again and told everything once more."""
    left, stopped = read_messages(folder / LEFT), (folder / STOPPED).exists()
    if latch_of(folder).exists():
        assert_remembered(latch_of(folder), left, stopped)
        shutil.copytree(folder / "state", folder / "replayed" / "state")
        hear(folder / "replayed", read_messages(folder / HEARD))
        assert_one_answer_each(left + read_messages(folder / "replayed" / LEFT))
        assert_bound_by_what_was_revealed(folder, left)
    else:
        assert left == []


# --- Killed -----------------------------------------------------------------------------------------------------


def kill_at(folder, fatal, moment):
    home = folder / f"{moment}-{fatal}"
    assert run_until_killed(home, fatal, moment) == -signal.SIGKILL
    return home


def ends_after_kills(folder, moment, fatals):
    """Dies at each of these writes, in a process each; how many messages had left before."""
    with ThreadPoolExecutor(2) as threads:
        homes = list(threads.map(lambda fatal: kill_at(folder, fatal, moment), fatals))
    for home in homes:
        assert_nothing_forgotten(home)
    return {len(read_messages(home / LEFT)) for home in homes}


def writes_of(played):
    count = int((played / "writes").read_text())
    assert count > 40
    return count


@pytest.mark.parametrize("moment", list(Moment))
def test_a_hospital_killed_at_writes_of_its_latch_forgets_no_answer_and_no_refusal(played, ram_disk, moment):
    # Where tables are made, every eighth; from then on every second: a record is two writes or four.
    fatals = [*range(1, 30, 8), *range(31, writes_of(played) + 1, 2)]
    assert ends_after_kills(ram_disk, moment, fatals) >= {0, 4, 5, 6, 7, 8, 9}


@pytest.mark.slow
@pytest.mark.parametrize("moment", list(Moment))
def test_a_hospital_killed_at_any_write_of_its_latch_forgets_no_answer_and_no_refusal(played, ram_disk, moment):
    # Cut off before anything left, after everything had, and at every answer in between. After the first message it
    # notes whom it has seen; the deals leave together.
    assert ends_after_kills(ram_disk, moment, range(1, writes_of(played) + 1)) == {0, 1, 4, 5, 6, 7, 8, 9}


def test_control_a_latch_that_writes_two_records_at_once_is_caught(ram_disk):
    caught = 0
    for fatal in range(31, 60, 4):
        home = ram_disk / str(fatal)
        if run_until_killed(home, fatal, Moment.BEFORE, BatchingLatch) == -signal.SIGKILL:
            try:
                assert_nothing_forgotten(home)
            except AssertionError:
                caught += 1
    assert caught > 0


# --- Two at once ------------------------------------------------------------------------------------------------


def test_a_second_process_is_refused_by_whatever_path_it_comes(tmp_path):
    (tmp_path / "state").mkdir()
    (tmp_path / "way").symlink_to(tmp_path / "state", target_is_directory=True)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "latch.sqlite").symlink_to(latch_of(tmp_path))
    with Latch(latch_of(tmp_path)):
        for path in (
            latch_of(tmp_path),
            tmp_path / "way" / "latch.sqlite",
            tmp_path / "state" / ".." / "state" / "latch.sqlite",
            tmp_path / "elsewhere" / "latch.sqlite",
        ):
            assert in_a_process(open_latch, path) == IN_USE, path
    assert in_a_process(open_latch, latch_of(tmp_path)) == 0


def test_a_second_process_is_refused_if_the_first_came_by_a_link(tmp_path):
    (tmp_path / "state").mkdir()
    (tmp_path / "link.sqlite").symlink_to(latch_of(tmp_path))
    with Latch(tmp_path / "link.sqlite"):
        assert in_a_process(open_latch, latch_of(tmp_path)) == IN_USE


def test_limit_a_lock_file_that_was_replaced_under_a_running_process_keeps_nobody_out(tmp_path):
    """Nobody who starts a second process by mistake does that; who removes lock files can."""
    with Latch(latch_of(tmp_path)):
        lock = latch_of(tmp_path).with_name("latch.sqlite.lock")
        shutil.copy(lock, lock.with_name("copy"))
        assert in_a_process(open_latch, latch_of(tmp_path)) == IN_USE
        lock.with_name("copy").replace(lock)
        assert in_a_process(open_latch, latch_of(tmp_path)) == 0


# --- A full disk ------------------------------------------------------------------------------------------------


def played_on(folder, make, kind):
    code = full_disk.play_on(folder, make, kind)
    if code == NOT_TO_BE_HAD:
        pytest.skip("this kernel lets no ordinary process mount a small disk of its own")
    assert code == 0
    return [message.decode() for message in read_messages(folder / REFUSED)]


@pytest.mark.parametrize(
    ("make", "refusals"),
    # An epoch, who was seen in it, two masked vectors, an agreement and two answers; an answer is two records, of which
    # one may still fit.
    [(full_disk.limited, 7), (full_disk.limited_after_a_cohort, 2), (full_disk.small, 7)],
)
def test_on_a_full_disk_nothing_leaves_and_with_space_all_goes_on(tmp_path, make, refusals):
    assert played_on(tmp_path, make, Starved) == ["unwritable"] * refusals
    left = read_messages(tmp_path / LEFT)
    assert [peek(message).stage for message in left] == WHOLE_PLAY
    assert_one_answer_each(left)
    assert_remembered(tmp_path / KEPT / "latch.sqlite", left, stopped=True)


@pytest.mark.parametrize("make", [full_disk.limited, full_disk.small])
def test_limit_a_stop_that_could_not_be_written_holds_until_the_restart_only(tmp_path, make):
    # The true sum, of which it could not note who was in it. The forged one is called forged all the same.
    assert played_on(tmp_path, make, StarvedAtTheEnd) == ["unwritable"]
    assert (tmp_path / STOPPED).exists()
    left = read_messages(tmp_path / LEFT)
    assert [peek(message).stage for message in left] == WHOLE_PLAY
    assert_remembered(tmp_path / KEPT / "latch.sqlite", left, stopped=False)
    with Latch(tmp_path / KEPT / "latch.sqlite") as latch:
        assert not latch.is_stopped(CHARTER.digest)


@pytest.mark.parametrize("make", [full_disk.limited, full_disk.small])
def test_on_a_full_disk_egress_log_and_ledger_refuse_and_stay_whole(tmp_path, make):
    code = full_disk.log_on(tmp_path, make)
    if code == NOT_TO_BE_HAD:
        pytest.skip("this kernel lets no ordinary process mount a small disk of its own")
    assert code == 0
    key = IDENTITIES[0].public_key
    assert len(read_egress(tmp_path / KEPT / "egress.sqlite", key)) == 2 * 3
    entries = read_log(tmp_path / KEPT / "ledger.sqlite", key, LEDGER)
    assert [entry.kind for entry in entries] == [Kind.UNPROTECTED]


def test_on_a_full_disk_a_reservation_is_refused_and_nothing_is_held(tmp_path):
    # So little noise that the slow accountant leaves it alone.
    cost, budget = Cost((GaussianEvent(0.3, 0.1, 1),)), Budget(1000.0, 1e-5)
    data_set, run = "a" * 64, "1" * 64
    with Ledger(tmp_path / "ledger.sqlite", IDENTITIES[0]) as ledger:
        # Here the limit is this process's own, for as long as one call takes.
        with full_disk.LimitedFiles(tmp_path).full(), pytest.raises(InputError) as caught:
            ledger.reserve(data_set, run, cost, budget, "now")
        assert caught.value.reason == "unwritable"
        assert ledger.spending(data_set).runs == ()
        ledger.reserve(data_set, run, cost, budget, "now")
    (entry,) = read_log(tmp_path / "ledger.sqlite", IDENTITIES[0].public_key, LEDGER)
    assert (entry.kind, entry.cost) == (Kind.RESERVE, cost)


# --- Copies -----------------------------------------------------------------------------------------------------


def test_limit_a_copied_folder_is_accepted_but_reveals_nothing_of_the_running_epoch(played, tmp_path):
    """Its latch came with it, and the epoch's secrets did not: they were never on disk."""
    home = kill_at(tmp_path, int((played / "writes").read_text()) - 12, Moment.BEFORE)
    copies = [tmp_path / "one", tmp_path / "two"]
    for copy in copies:
        shutil.copytree(home / "state", copy / "state")
    with ThreadPoolExecutor(2) as threads:
        heard = read_messages(home / HEARD)
        codes = list(threads.map(lambda copy: in_a_process(hear, copy, heard), copies))
    assert codes == [0, 0]
    for copy in copies:
        assert read_messages(copy / LEFT) == []


def test_limit_a_restored_backup_is_accepted_but_reveals_nothing_of_the_running_epoch(played, tmp_path):
    """From before the epoch: it advertises again, with other keys, and nobody's roster has those."""
    Latch(latch_of(tmp_path)).close()
    hear(tmp_path, read_messages(played / HEARD))
    assert [peek(message).stage for message in read_messages(tmp_path / LEFT)] == [Stage.ADVERTISE]
