"""What tests of transcripts look up in recorded events, and how a lying coordinator writes them anew."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress

from secagg.charter import VerifiedCharter
from secagg.errors import RemoteProtocolError
from secagg.masking import MaskingServer, Purpose, Session
from secagg.masking.journal import Around, Begun, Event, Lost, Opened, Received, Sent, TimedOut
from secagg.masking.noise import NoiseExpansion, refuse_noise
from secagg.wire import Stage
from secagg.wire.envelope import peek

MEMBERS = 5
ANY_SIZE = 1 << 20


def stage(event: Event) -> Stage | None:
    return peek(event.message).stage if isinstance(event, (Received, Sent, Around)) else None


def index_of(events, kind, wanted: Stage, number: int = 0) -> int:
    found = [i for i, event in enumerate(events) if isinstance(event, kind) and stage(event) is wanted]
    return found[number]


def with_a_sum_taken_away(
    events: Iterable[Event],
    charter: VerifiedCharter,
    number: int,
    noise: NoiseExpansion = refuse_noise,
    numbered: Callable[[int], int] = lambda step: step,
) -> list[Event]:
    """An epoch in which round ``number`` is said to have given no sum: all that is left of it follows from the rest.

    Args:
        numbered: the step that is written down in the place of each.
    """
    written: list[Event] = []
    server: MaskingServer | None = None
    for event in events:
        match event:
            case Opened():
                session = Session(charter, event.epoch, Purpose(event.purpose), event.first_round, event.rounds)
                server = MaskingServer(session, frozenset(event.invited), written.append, noise)
                server.open()
            case Begun():
                server.begin(numbered(event.step), event.asked)
                if server.round == number:
                    server.timeout()
            case Around():
                written.append(event)
            case Received() | TimedOut() | Lost() if server.round != number:
                with suppress(RemoteProtocolError):
                    _happen(server, event)
    return written


def _happen(server: MaskingServer, event: Received | TimedOut | Lost) -> None:
    match event:
        case Received():
            server.receive(event.member, event.message)
        case TimedOut():
            server.timeout()
        case Lost():
            server.lose()
