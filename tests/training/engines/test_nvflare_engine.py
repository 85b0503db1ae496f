"""What a hospital's cell may answer, over real cells: no answer of its stops the others, and none is shown unread."""

from __future__ import annotations

import threading
import time

import pytest

pytest.importorskip("nvflare", reason="the extra nvflare is not installed")

from nvflare.apis.signal import Signal

from secagg.errors import ProtocolError
from tests.support.nvflare_cells import Cells
from tests.support.nvflare_site import ENDLESS, TWISTS
from tests.support.scripted import Fault, Order, answer
from training.engines.base import Exchange, Phase
from training.engines.nvflare.deadlines import Deadlines
from training.engines.nvflare.engine import NvflareEngine

PATIENT = Deadlines(20.0, 20.0, 20.0)


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    cells = Cells(tmp_path_factory.mktemp("cells"), (1, 2))
    yield cells
    cells.close()


@pytest.fixture
def failures():
    return []


@pytest.fixture
def engine(cells, failures):
    def hear(member, error):
        failures.append((member, error))

    return NvflareEngine(cells.cell, cells.names, PATIENT, Signal(), hear)


def twisted(twist):
    return Order(replies=[b"never"], twist=twist).to_bytes()


REASONS = dict.fromkeys(TWISTS, "malformed-delivery") | {
    "an object that cannot be read": "not-delivered",
    "a code without end": "not-delivered",
    "a code for the terminal": "not-delivered",
    "a code that is none": "not-delivered",
    "a failure without end": "site-failed",
    "a failure for the terminal": "site-failed",
    "a failure that is no text": "site-failed",
    "no message": "not-delivered",
    "nothing": "not-delivered",
    "an exception": "not-delivered",
}


@pytest.mark.parametrize("twist", TWISTS)
def test_a_malformed_answer_is_none_and_its_reason_can_be_shown(engine, failures, twist):
    exchange = engine.exchange(Phase.MASK, [(1, twisted(twist)), (2, answer(b"2"))], 1)
    assert exchange == Exchange(((2, b"2"),), frozenset({1}))
    ((member, error),) = failures
    assert (member, error.reason) == (1, REASONS[twist])
    assert error.message.isprintable()
    assert len(error.message) < 200


def test_control_the_same_cell_answers_what_is_not_twisted(engine, failures):
    exchange = engine.exchange(Phase.MASK, [(1, answer(b"1")), (2, answer(b"2"))], 1)
    assert (sorted(exchange.inbox), failures) == ([(1, b"1"), (2, b"2")], [])


def test_an_answer_that_trickles_without_end_is_waited_for_no_longer_than_three_deadlines(cells, failures):
    engine = NvflareEngine(cells.cell, cells.names, Deadlines(1.0, 1.0, 1.0), Signal())
    assert engine.exchange(Phase.MASK, [(1, twisted(ENDLESS))], 1) == Exchange((), frozenset({1}))


@pytest.mark.parametrize(("fault", "reason"), [(Fault.REFUSE, "told-to"), (Fault.CRASH, "internal")])
def test_a_hospital_that_fails_says_its_reason_code_and_no_more(engine, failures, fault, reason):
    exchange = engine.exchange(Phase.MASK, [(1, Order(fault=fault).to_bytes()), (2, answer(b"2"))], 1)
    assert exchange == Exchange(((2, b"2"),), frozenset({1}))
    ((member, error),) = failures
    assert (member, error.reason) == (1, "site-failed")
    assert error.message == f"The site cannot take part: {reason}."


# Longer than a test may take: only a pulse can end the wait.
WATCHFUL = Deadlines(3600.0, 3600.0, 3600.0, pulse=0.3)


def test_a_hospital_that_dies_at_work_is_not_waited_for_until_its_deadline(cells, tmp_path, failures):
    engine = NvflareEngine(cells.cell, cells.names, WATCHFUL, Signal(), lambda *failure: failures.append(failure))
    begun = tmp_path / "begun"
    at_work = Order(until=str(tmp_path / "never"), begun=str(begun)).to_bytes()

    def kill_at_work():
        while not begun.exists():
            time.sleep(0.01)
        cells.stop(1)

    killer = threading.Thread(target=kill_at_work, daemon=True)
    killer.start()
    exchange = engine.exchange(Phase.MASK, [(1, at_work), (2, answer(b"2"))], 1)
    killer.join()
    cells.start_missing()
    assert exchange == Exchange(((2, b"2"),), frozenset({1}))
    assert [error.reason for _, error in failures] == ["not-delivered"]


def test_a_hospital_that_works_long_is_waited_for_as_long_as_it_is_there(cells, tmp_path):
    engine = NvflareEngine(cells.cell, cells.names, WATCHFUL, Signal())
    done = tmp_path / "done"
    timer = threading.Timer(3.0, done.touch)
    timer.start()
    exchange = engine.exchange(Phase.MASK, [(1, Order(replies=[b"1"], until=str(done)).to_bytes())], 1)
    timer.join()
    assert exchange == Exchange(((1, b"1"),), frozenset())


def test_when_the_job_is_stopped_nobody_is_waited_for(cells, tmp_path):
    aborted = Signal()
    engine = NvflareEngine(cells.cell, cells.names, PATIENT, aborted)
    aborted.trigger("stopped")
    blocked = Order(until=str(tmp_path / "open")).to_bytes()
    try:
        with pytest.raises(ProtocolError) as caught:
            engine.exchange(Phase.MASK, [(1, blocked), (2, answer(b"2"))], 1)
    finally:
        (tmp_path / "open").touch()
    assert caught.value.reason == "job-aborted"


# Members that were too late


@pytest.fixture
def gate(tmp_path):
    """What is blocked goes on when it is touched; at the latest when the test is over, for the next one's sake."""
    yield tmp_path / "open"
    (tmp_path / "open").touch()


def once_idle(engine, message):
    """What a member that is asked again and again says once it has worked off what it was late with."""
    while not (exchange := engine.exchange(Phase.QUERY, [(1, message)], 0)).inbox:
        time.sleep(0.05)
    return exchange


def test_who_was_too_late_is_sent_nothing_while_it_is_at_work_and_is_in_again_afterwards(
    cells, failures, tmp_path, gate
):
    """It would train and pay for every round, and answer none in time."""
    brief = Deadlines(work=2.0, answer=60.0)
    engine = NvflareEngine(cells.cell, cells.names, brief, Signal(), lambda *failure: failures.append(failure))
    late = Order(until=str(gate)).to_bytes()
    assert engine.exchange(Phase.MASK, [(1, late), (2, answer(b"2"))], 1).dropped == {1}
    begun = tmp_path / "begun"
    for phase in (Phase.APPLY, Phase.MASK):
        exchange = engine.exchange(phase, [(1, Order(begun=str(begun)).to_bytes()), (2, answer(b"2"))], 2)
        assert exchange == Exchange(((2, b"2"),), frozenset({1}))
    assert [error.reason for _, error in failures] == ["not-delivered", "still-busy", "still-busy"]
    gate.touch()
    assert once_idle(engine, answer(b"1")) == Exchange(((1, b"1"),), frozenset())
    assert not begun.exists()


def test_who_was_too_late_and_is_idle_has_the_whole_deadline(cells, engine, tmp_path, gate):
    strict = NvflareEngine(cells.cell, cells.names, Deadlines(work=60.0, answer=1.0, again=2.0), Signal())
    assert strict.exchange(Phase.QUERY, [(1, Order(until=str(gate)).to_bytes())], 0).dropped == {1}
    gate.touch()
    # Of another engine, so that the first one knows it as late still.
    once_idle(engine, answer(b"there"))
    longer = tmp_path / "longer"
    timer = threading.Timer(5.0, longer.touch)
    timer.start()
    exchange = strict.exchange(Phase.MASK, [(1, Order(replies=[b"1"], until=str(longer)).to_bytes())], 1)
    timer.join()
    assert exchange == Exchange(((1, b"1"),), frozenset())


def too_late(engine, gate):
    """Let the first member be too late with an update, and then work it off."""
    gate.unlink(missing_ok=True)
    dropped = engine.exchange(Phase.MASK, [(1, Order(until=str(gate)).to_bytes())], 1).dropped
    gate.touch()
    once_idle(engine, answer(b"there"))
    return dropped == {1}


@pytest.fixture
def hasty(cells, failures):
    deadlines = Deadlines(work=1.0, answer=60.0)
    return NvflareEngine(cells.cell, cells.names, deadlines, Signal(), lambda *failure: failures.append(failure))


def test_who_is_too_late_with_two_updates_in_a_row_begins_no_other_but_is_asked_all_else(
    hasty, failures, tmp_path, gate
):
    assert too_late(hasty, gate)
    assert too_late(hasty, gate)
    begun = tmp_path / "begun"
    order = Order(replies=[b"1"], begun=str(begun)).to_bytes()
    assert hasty.exchange(Phase.MASK, [(1, order)], 3).dropped == {1}
    assert not begun.exists()
    assert failures[-1][1].reason == "too-slow"
    assert hasty.exchange(Phase.APPLY, [(1, answer(b"1"))], 3) == Exchange(((1, b"1"),), frozenset())


def test_control_an_update_in_time_between_the_two_makes_good_for_the_first(hasty, gate):
    assert too_late(hasty, gate)
    for _ in range(2):
        assert hasty.exchange(Phase.MASK, [(1, answer(b"1"))], 2) == Exchange(((1, b"1"),), frozenset())
        assert too_late(hasty, gate)
