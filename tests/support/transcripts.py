"""What tests of transcripts look up in recorded events."""

from __future__ import annotations

from secagg.masking.journal import Around, Event, Received, Sent
from secagg.wire import Stage
from secagg.wire.envelope import peek

MEMBERS = 5
ANY_SIZE = 1 << 20


def stage(event: Event) -> Stage | None:
    return peek(event.message).stage if isinstance(event, (Received, Sent, Around)) else None


def index_of(events, kind, wanted: Stage, number: int = 0) -> int:
    found = [i for i, event in enumerate(events) if isinstance(event, kind) and stage(event) is wanted]
    return found[number]
