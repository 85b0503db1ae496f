"""A hospital whose process has ended is not waited for: what it was asked is unanswered, now and later."""

from __future__ import annotations

import threading
import time

from nvflare.apis.signal import Signal
from nvflare.fuel.f3.cellnet.defs import MessageHeaderKey, ReturnCode
from nvflare.fuel.f3.message import Message

from training.engines.base import Phase
from training.engines.nvflare.deadlines import Deadlines
from training.engines.nvflare.engine import NvflareEngine
from training.engines.nvflare.transport import pack_reply

GONE, THERE = 1, 2
DAYS = 250_000.0


class HalfDeaf:
    """A cell from which member 2 is reached at once, and member 1 never."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.waiting = threading.Event()

    def send_request(self, *, target, abort_signal, **_named):
        self.asked.append(target)
        if target == "there":
            reply = pack_reply([b"answer"])
            reply.payload = b"answer"
            return reply
        self.waiting.set()
        while not abort_signal.triggered:
            time.sleep(0.01)
        return Message({MessageHeaderKey.RETURN_CODE: ReturnCode.ABORT_RUN}, None)


def test_who_has_ended_is_not_waited_for_and_not_asked_again():
    cell, failures = HalfDeaf(), []
    engine = NvflareEngine(
        cell,
        {GONE: "gone", THERE: "there"},
        Deadlines(DAYS, DAYS, DAYS),
        Signal(),
        lambda member, error: failures.append((member, error.reason)),
    )
    outbox = [(GONE, b"question"), (THERE, b"question")]
    parting = threading.Thread(target=lambda: (cell.waiting.wait(), engine.part_with(GONE)))
    parting.start()
    for _ in range(2):
        exchange = engine.exchange(Phase.MASK, outbox, 1)
        assert exchange.inbox == ((THERE, b"answer"),)
        assert exchange.dropped == {GONE}
    parting.join()
    assert cell.asked.count("gone") == 1
    assert failures == [(GONE, "not-delivered"), (GONE, "site-ended")]


def test_who_never_opened_may_end_too():
    engine = NvflareEngine(HalfDeaf(), {THERE: "there"}, Deadlines(), Signal())
    engine.part_with(GONE)
    assert engine.exchange(Phase.QUERY, [(THERE, b"question")], 0).dropped == frozenset()
