"""The hospital's side of NVFlare: whatever is asked of it, and whatever goes wrong, it answers."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager, nullcontext

import pytest

pytest.importorskip("nvflare", reason="the extra nvflare is not installed")

from nvflare.apis.event_type import EventType
from nvflare.apis.fl_constant import ReservedKey
from nvflare.apis.fl_context import FLContext
from nvflare.fuel.f3.cellnet.defs import MessageHeaderKey
from nvflare.fuel.f3.message import Message

from secagg.errors import RefusedError, RemoteProtocolError, SecaggError
from tests.support.nvflare_site import TWISTS
from tests.support.scripted import Fault, MortalParty, Order, answer
from training.engines.nvflare.executor import HospitalExecutor
from training.engines.nvflare.responder import Responder
from training.engines.nvflare.transport import BUSY, CHANNEL, DELIVER, READY, pack, unpack

COORDINATOR = "server.job"
PATIENCE = 60.0


class Noting(MortalParty):
    def __init__(self) -> None:
        super().__init__()
        self.noted: list[str] = []

    def note(self, error: SecaggError) -> None:
        self.noted.append(error.reason)


def arriving(message: Message, asker: str = COORDINATOR) -> Message:
    """As it arrives: one blob, with the cell that it came from."""
    if isinstance(message.payload, list):
        message.payload = b"".join(message.payload)
    message.set_header(MessageHeaderKey.ORIGIN, asker)
    return message


def told(answered: Message) -> list[bytes] | str:
    """The replies, or why there are none."""
    try:
        return unpack(arriving(answered))
    except RemoteProtocolError as error:
        return error.message.removeprefix("The site cannot take part: ").removesuffix(".")


@pytest.fixture
def party():
    return Noting()


@pytest.fixture
def responder(party):
    responder = Responder(COORDINATOR)
    responder.open(lambda: nullcontext(party), lambda _ready: None)
    yield responder
    responder.close()


def asked(responder, *messages, asker=COORDINATOR):
    return told(responder.answer(arriving(pack(messages), asker)).result(PATIENCE))


def test_it_answers_with_all_replies_in_their_order(responder):
    assert asked(responder, answer(b"a", b""), answer(), answer(b"b")) == [b"a", b"", b"b"]


@pytest.mark.parametrize(("fault", "reason"), [(Fault.REFUSE, "told-to"), (Fault.CRASH, "internal")])
def test_what_its_party_raises_is_told_by_its_reason_code_alone(responder, party, fault, reason):
    assert asked(responder, answer(b"lost"), Order(fault=fault).to_bytes()) == reason
    assert asked(responder, answer(b"goes on")) == [b"goes on"]


def test_the_text_of_an_error_that_nobody_foresaw_is_in_no_log_of_nvflare_s(responder, caplog):
    """It may quote a record, and what NVFlare logs is not the hospital's own log."""
    asked(responder, Order(fault=Fault.CRASH).to_bytes())
    assert "RuntimeError" in caplog.text
    assert "told to crash" not in caplog.text


def test_its_party_hears_what_kept_a_request_from_being_answered(responder, party):
    asked(responder, Order(fault=Fault.REFUSE).to_bytes())
    assert party.noted == ["told-to"]


@pytest.mark.parametrize("twist", ["no sizes", "sizes that say more", "huge sizes", "an object", "a code that is none"])
def test_a_malformed_request_is_refused_and_its_party_hears_nothing_of_it(responder, party, twist):
    answered = responder.answer(arriving(TWISTS[twist]())).result(PATIENCE)
    assert told(answered) in {"malformed-delivery", "not-delivered"}
    assert party._heard == []


def test_only_the_coordinators_cell_is_answered(responder, party):
    assert asked(responder, answer(b"for another hospital"), asker="site-2.job") == "other-asker"
    assert party._heard == []


def test_control_the_same_request_from_the_coordinators_cell_is_answered(responder):
    assert asked(responder, answer(b"for the coordinator")) == [b"for the coordinator"]


def test_requests_are_answered_one_after_the_other(responder, tmp_path):
    gate = tmp_path / "open"
    first = responder.answer(arriving(pack([Order(replies=[b"1"], until=str(gate)).to_bytes()])))
    second = responder.answer(arriving(pack([answer(b"2")])))
    assert not second.done()
    gate.touch()
    assert [told(first.result(PATIENCE)), told(second.result(PATIENCE))] == [[b"1"], [b"2"]]


@pytest.mark.parametrize(
    ("error", "reason"), [(RefusedError("job-replayed", "Again."), "job-replayed"), (OSError("disk"), "internal")]
)
def test_a_party_that_cannot_be_opened_says_so_at_once_and_to_every_request(error, reason):
    @contextmanager
    def opening():
        raise error
        yield

    responder, ready = Responder(COORDINATOR), []
    responder.open(opening, ready.append)
    assert asked(responder, answer(b"?")) == reason
    assert [told(message) for message in ready] == [reason]
    responder.close()


def test_before_it_is_opened_and_after_it_is_closed_it_says_so():
    responder = Responder(COORDINATOR)
    assert asked(responder, answer(b"?")) == "not-started"
    responder.close()
    assert asked(responder, answer(b"?")) == "job-over"


def test_a_pulse_is_answered_at_once_and_says_whether_the_party_is_at_work(responder, tmp_path):
    def pulse():
        return told(responder.answer_pulse(arriving(pack([]))))

    asked(responder, answer(b"1"))
    assert pulse() == []
    gate = tmp_path / "open"
    first = responder.answer(arriving(pack([Order(until=str(gate)).to_bytes()])))
    second = responder.answer(arriving(pack([answer(b"2")])))
    assert pulse() == [BUSY]
    gate.touch()
    first.result(PATIENCE), second.result(PATIENCE)
    assert pulse() == []


def test_what_still_waits_when_it_is_closed_is_not_carried_out(party, tmp_path):
    """Whoever asked for it has ended the job, and a round would be paid for."""
    gate, begun, waiting = (tmp_path / name for name in ("open", "begun", "waiting"))
    responder = Responder(COORDINATOR)
    responder.open(lambda: nullcontext(party), lambda _ready: None)
    at_work = Order(replies=[b"done"], until=str(gate), begun=str(begun)).to_bytes()
    first = responder.answer(arriving(pack([at_work])))
    second = responder.answer(arriving(pack([Order(begun=str(waiting)).to_bytes()])))
    while not begun.exists():
        time.sleep(0.01)
    closing = threading.Thread(target=responder.close)
    closing.start()
    while not responder.answer(arriving(pack([answer()]))).done():
        time.sleep(0.01)
    gate.touch()
    closing.join()
    assert (told(first.result()), told(second.result())) == ([b"done"], "job-over")
    assert not waiting.exists()


def test_closing_closes_the_party_after_the_last_answer(party):
    events = []

    @contextmanager
    def opening():
        yield party
        events.append("closed")

    responder = Responder(COORDINATOR)
    responder.open(opening, lambda _ready: events.append("ready"))
    last = responder.answer(arriving(pack([answer(b"last")])))
    last.add_done_callback(lambda _answered: events.append("answered"))
    responder.close()
    assert events == ["ready", "answered", "closed"]


class _Cell:
    """What the executor needs of NVFlare's cell."""

    def __init__(self) -> None:
        self.callbacks = {}
        self.sent = []
        self.called = threading.Event()

    def register_request_cb(self, *, channel, topic, cb):
        self.callbacks[channel, topic] = cb

    def fire_and_forget(self, *, channel, topic, targets, message):
        self.sent.append((channel, topic, targets, told(message)))
        self.called.set()


class _JobEngine:
    """What the executor needs of NVFlare's engine."""

    def __init__(self, folder):
        self.cell = _Cell()
        self.folder = folder

    def get_cell(self):
        return self.cell

    def get_workspace(self):
        return self

    def get_root_dir(self):
        return str(self.folder / "kit")


def test_a_job_at_a_site_that_cannot_take_part_is_answered_with_the_reason(tmp_path):
    context, engine = FLContext(), _JobEngine(tmp_path)
    context.set_prop(ReservedKey.ENGINE, engine, private=True, sticky=False)
    context.set_prop(ReservedKey.RUN_NUM, "job", private=True, sticky=False)
    executor = HospitalExecutor("00", 1)
    executor.handle_event(EventType.START_RUN, context)
    assert engine.cell.called.wait(PATIENCE)
    ((channel, topic, target, reason),) = engine.cell.sent
    assert (channel, topic, target) == (CHANNEL, READY, COORDINATOR)
    respond = engine.cell.callbacks[CHANNEL, DELIVER]
    assert told(respond(arriving(pack([answer(b"?")]))).result(PATIENCE)) == reason
    assert reason not in {"internal", "not-started"}
    executor.handle_event(EventType.END_RUN, context)
    assert told(respond(arriving(pack([answer(b"?")]))).result(PATIENCE)) == "job-over"
