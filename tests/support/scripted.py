"""Parties that do as they are told by the messages themselves, so that one script runs over every engine."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path

import msgspec

from secagg.errors import RemoteProtocolError, SecaggError

REPORT = b"report"
FORGET = b"forget"


class Fault(StrEnum):
    """What a party does instead of answering."""

    NONE = ""
    REFUSE = "refuse"
    CRASH = "crash"
    DIE = "die"


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What to do.

    Attributes:
        replies: to answer with.
        size: of one more answer, if not 0: the bytes of `stretch`.
        fault: what to do instead.
        until: the path of a file; nothing is done before it is there.
        begun: the path of a file that is made when the message is heard.
        twist: how the cell garbles the answer, where there is a cell: `tests.support.nvflare_site`.
        padding: nothing; makes the message longer.
    """

    replies: list[bytes] = []
    size: int = 0
    fault: Fault = Fault.NONE
    until: str = ""
    begun: str = ""
    twist: str = ""
    padding: bytes = b""

    def to_bytes(self) -> bytes:
        return msgspec.msgpack.encode(self)


def answer(*replies: bytes) -> bytes:
    """The message to which a party answers this."""
    return Order(replies=list(replies)).to_bytes()


def stretch(size: int) -> bytes:
    """Bytes of which every stretch differs from every other."""
    return hashlib.shake_128(b"stretch").digest(min(size, 1 << 20)) * (size // (1 << 20) + 1)


class ScriptedParty:
    """Does what each message says, and remembers what it was sent: `REPORT` gives a digest of each.

    Args:
        die: ends this party for good.
    """

    def __init__(self, die: Callable[[], None]) -> None:
        self._die = die
        self._heard: list[bytes] = []

    def receive(self, message: bytes) -> list[bytes]:
        if message == REPORT:
            return self._heard
        if message == FORGET:
            self._heard = []
            return []
        self._heard.append(hashlib.sha256(message).digest())
        return self._obey(msgspec.msgpack.decode(message, type=Order)) if message else [b""]

    def note(self, error: SecaggError) -> None:
        """See `Attending.note`."""

    def _obey(self, order: Order) -> list[bytes]:
        if order.begun:
            Path(order.begun).touch()
        while order.until and not Path(order.until).exists():
            time.sleep(0.01)
        match order.fault:
            case Fault.REFUSE:
                raise RemoteProtocolError("told-to", "This party was told to refuse.")
            case Fault.CRASH:
                raise RuntimeError("This party was told to crash.")
            case Fault.DIE:
                self._die()
        return [*order.replies, *([stretch(order.size)[: order.size]] if order.size else [])]


class MortalParty(ScriptedParty):
    """A scripted party in this very process: once dead, it answers nothing any more."""

    def __init__(self) -> None:
        super().__init__(self._end)
        self.alive = True

    def receive(self, message: bytes) -> list[bytes]:
        self._require_life()
        return super().receive(message)

    def _end(self) -> None:
        self.alive = False
        self._require_life()

    def _require_life(self) -> None:
        if not self.alive:
            raise RemoteProtocolError("dead", "This party is dead.")
