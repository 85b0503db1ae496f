"""A hospital's cell in a process of its own, over mTLS, with the responder of the product and a scripted party.

Run by `tests.support.nvflare_cells`. Ends when its standard input does, so that it outlives nobody.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import nullcontext

import msgspec
from nvflare.fuel.f3.cellnet.cell import Cell
from nvflare.fuel.f3.cellnet.defs import CellChannel, Encoding, MessageHeaderKey, MessageType, ReturnCode
from nvflare.fuel.f3.cellnet.utils import make_reply
from nvflare.fuel.f3.message import Message
from nvflare.fuel.f3.streaming.byte_streamer import STREAM_TYPE_BLOB
from nvflare.fuel.f3.streaming.stream_const import StreamHeaderKey
from nvflare.fuel.f3.streaming.stream_types import Stream

from tests.support.scripted import Order, ScriptedParty
from training.engines.nvflare.responder import Responder
from training.engines.nvflare.transport import CHANNEL, DELIVER, PULSE, unpack

SERVER = "server"
_HEADERS = {"sizes": "secagg-sizes", "failed": "secagg-failed", "encoding": StreamHeaderKey.PAYLOAD_ENCODING}
_ENDLESS = 1 << 31


def _garbled(body: object = b"abc", code: object = ReturnCode.OK, **headers: object) -> Message:
    reply = make_reply(code, body=body)
    reply.add_headers({_HEADERS[name]: value for name, value in headers.items()})
    return reply


def _crash() -> Message:
    raise RuntimeError("This cell was told to crash.")


TWISTS: dict[str, Callable[[], object]] = {
    "no sizes": _garbled,
    "sizes that say more": lambda: _garbled(sizes=[1, 3]),
    "sizes that say less": lambda: _garbled(sizes=[1, 1]),
    "sizes below nothing": lambda: _garbled(sizes=[4, -1]),
    "sizes of true": lambda: _garbled(sizes=[True, True, True]),
    "sizes of text": lambda: _garbled(sizes=["3"]),
    "sizes that are no list": lambda: _garbled(sizes={"3": 3}),
    "too many sizes": lambda: _garbled(sizes=[0] * 10_001 + [3]),
    "huge sizes": lambda: _garbled(sizes=[1 << 62, 3]),
    "no body": lambda: _garbled(None, sizes=[3]),
    "an object": lambda: _garbled({"a": 1}, sizes=[1]),
    "a list of bytes": lambda: _garbled([b"abc"], sizes=[3]),
    "an object that cannot be read": lambda: _garbled(b"\xc1 junk", sizes=[6], encoding=Encoding.FOBS),
    "another encoding": lambda: _garbled(sizes=[], encoding="pickle"),
    "a code without end": lambda: _garbled(code="x" * 40_000),
    "a code for the terminal": lambda: _garbled(code="\x1b[2Jgone"),
    "a code that is none": lambda: _garbled(code={"ok": True}),
    "a failure without end": lambda: _garbled(failed="x" * 40_000),
    "a failure for the terminal": lambda: _garbled(failed="\x1b[2Jgone"),
    "a failure that is no text": lambda: _garbled(failed=[b"\xff"]),
    "no message": lambda: "text",
    "nothing": lambda: None,
    "an exception": _crash,
}
ENDLESS = "an answer that trickles without end"


class _Trickle(Stream):  # type: ignore[misc]
    """Something every now and then, for hours."""

    def __init__(self) -> None:
        super().__init__(_ENDLESS)

    def read(self, chunk_size: int) -> bytes:
        time.sleep(0.3)
        return bytes(chunk_size)


class _TwistingCell:
    """Answers as the product does, except to those who ask for something else."""

    def __init__(self, cell: Cell, responder: Responder) -> None:
        self._cell = cell
        self._responder = responder

    def on_request(self, request: Message) -> object:
        twist = _twist_of(request)
        if not twist:
            return self._responder.answer(request)
        if twist == ENDLESS:
            threading.Thread(target=self._trickle, args=(request,), daemon=True).start()
            return Future()
        return TWISTS[twist]()

    def _trickle(self, request: Message) -> None:
        headers = {
            MessageHeaderKey.REQ_ID: request.get_header(MessageHeaderKey.REQ_ID, ""),
            MessageHeaderKey.MSG_TYPE: MessageType.REPLY,
            StreamHeaderKey.STREAM_REQ_ID: request.get_header(StreamHeaderKey.STREAM_REQ_ID),
        }
        asker = request.get_header(MessageHeaderKey.ORIGIN)
        topic = f"{CHANNEL}:{DELIVER}"
        self._cell.byte_streamer.send(
            CellChannel.RETURN_ONLY, topic, asker, headers, _Trickle(), STREAM_TYPE_BLOB, optional=True
        )


def _twist_of(request: Message) -> str:
    for message in unpack(request):
        try:
            twist = msgspec.msgpack.decode(message, type=Order).twist
        except msgspec.DecodeError:
            continue
        if twist:
            return twist
    return ""


def main(name: str, url: str, authority: str, certificate: str, key: str) -> None:
    credentials = {"ca_cert": authority, "client_cert": certificate, "client_key": key}
    cell = Cell(fqcn=name, root_url=url, secure=True, credentials=credentials)
    responder = Responder(SERVER)
    twisting = _TwistingCell(cell, responder)
    cell.register_request_cb(channel=CHANNEL, topic=DELIVER, cb=twisting.on_request)
    cell.register_request_cb(channel=CHANNEL, topic=PULSE, cb=responder.answer_pulse)
    party = ScriptedParty(lambda: os.kill(os.getpid(), signal.SIGKILL))
    opened = threading.Event()
    responder.open(lambda: nullcontext(party), lambda _ready: opened.set())
    opened.wait()
    cell.start()
    sys.stdin.read()
    # NVFlare's threads would keep the process alive.
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
