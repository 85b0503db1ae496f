"""What answers at a hospital's cell: one request after the other, and whatever goes wrong is answered too.

Knows a party and what it takes to open it. Never raises: NVFlare would tell the coordinator what was raised, in words
that nobody has read before.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from typing import Any, Final, Protocol

from nvflare.fuel.f3.cellnet.defs import MessageHeaderKey
from nvflare.fuel.f3.message import Message

from secagg.errors import RemoteProtocolError, SecaggError
from training.engines.nvflare.transport import BUSY, pack, pack_failure, pack_reply, unpack

_log = logging.getLogger(__name__)
_INTERNAL: Final = "internal"
_OVER: Final = "job-over"


class Attending(Protocol):
    """A hospital that takes part in a job."""

    def receive(self, message: bytes) -> list[bytes]:
        """Take a message, give the replies.

        Raises:
            SecaggError: if it cannot answer.
        """

    def note(self, error: SecaggError) -> None:
        """Hear what kept a request from being answered; whoever asked is told its reason code alone."""


class Responder:
    """Answers requests for one party, from `open` to `close`.

    Args:
        asker: the cell whose requests are answered; no other hospital's.
    """

    def __init__(self, asker: str) -> None:
        self._asker = asker
        # One thread: a hospital's files and state machine are no concern of two at once.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="hospital")
        self._opened = ExitStack()
        self._party: Attending | None = None
        self._failure = "not-started"
        self._last: Future[Any] | None = None
        self._closing = False

    def open(self, opening: Callable[[], AbstractContextManager[Attending]], then: Callable[[Message], object]) -> None:
        """Open the party, before any request is answered; ``then`` has the message that says whether it takes part."""
        self._last = self._thread.submit(lambda: then(self._open(opening)))

    def answer(self, request: Message) -> Future[Message]:
        """The answer to a request, once it is its turn."""
        try:
            self._last = answered = self._thread.submit(self._answer, request)
        except RuntimeError:
            answered = Future()
            answered.set_result(pack_failure(_OVER))
        return answered

    def answer_pulse(self, _request: Message) -> Message:
        """Say that this process is there, at once, and whether it is at work: on anything that it has not answered."""
        return pack_reply([] if self._last is None or self._last.done() else [BUSY])

    def close(self) -> None:
        """Answer what is being worked on, and carry out nothing that still waits; then close the party."""
        self._closing = True
        closed = self._thread.submit(self._opened.close)
        self._thread.shutdown()
        closed.result()

    def _open(self, opening: Callable[[], AbstractContextManager[Attending]]) -> Message:
        try:
            self._party = self._opened.enter_context(opening())
        except SecaggError as error:
            self._failure = error.reason
        except Exception as error:
            _log_kind("the hospital could not be opened", error)
            self._failure = _INTERNAL
        return pack([]) if self._party else pack_failure(self._failure)

    def _answer(self, request: Message) -> Message:
        if self._closing:
            return pack_failure(_OVER)
        if self._party is None:
            return pack_failure(self._failure)
        try:
            self._require_asker(request)
            return pack_reply([reply for message in unpack(request) for reply in self._party.receive(message)])
        except SecaggError as error:
            self._party.note(error)
            return pack_failure(error.reason)
        except Exception as error:
            _log_kind("a request could not be answered", error)
            return pack_failure(_INTERNAL)

    def _require_asker(self, request: Message) -> None:
        if request.get_header(MessageHeaderKey.ORIGIN) != self._asker:
            raise RemoteProtocolError("other-asker", "A request came from another cell than the coordinator's.")


def _log_kind(event: str, error: Exception) -> None:
    """In NVFlare's log, which is not this hospital's own: no text, which may quote a record, and no traceback."""
    _log.error("%s: %s", event, type(error).__name__)
