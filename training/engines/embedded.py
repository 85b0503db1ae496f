"""The whole consortium in one process: every party has its own folder and keys, and only bytes pass between them.

Knows hospitals by number, and faults to simulate. Knows nothing of what the bytes mean.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

from secagg.errors import InputError
from training.engines.base import Exchange, Outbox, Phase


class Party(Protocol):
    """A hospital as an engine sees it."""

    def receive(self, message: bytes) -> list[bytes]:
        """Take a message, give the replies."""


@dataclass(frozen=True)
class DropOut:
    """A member that cannot be reached in one phase of one round."""

    member: int
    round: int
    phase: Phase


def parse_drop_out(text: str, numbers: Mapping[str, int]) -> DropOut:
    """Read ``name:round`` or ``name:round:phase``; the phase is ``mask`` unless it is given.

    Raises:
        InputError: ``bad-drop-out``.
    """
    name, _, rest = text.partition(":")
    round_text, _, phase = rest.partition(":")
    try:
        found = DropOut(numbers[name], int(round_text), Phase(phase or Phase.MASK))
    except (KeyError, ValueError):
        found = None
    if found is None or found.round < 1:
        raise InputError(
            "bad-drop-out",
            f"{text!r} names no hospital, round and phase to drop.",
            remedy=f"Write it as {next(iter(numbers))}:3 or {next(iter(numbers))}:3:reveal.",
        )
    return found


class EmbeddedEngine:
    """Delivers every message at once, in order of member numbers, except to those who have dropped out."""

    def __init__(
        self,
        hospitals: Mapping[int, Party],
        drop_outs: Collection[DropOut] = (),
        on_answer: Callable[[Phase, int], None] = lambda _phase, _member: None,
    ) -> None:
        self._hospitals = hospitals
        self._drop_outs = frozenset(drop_outs)
        self._on_answer = on_answer

    def exchange(self, phase: Phase, outbox: Outbox, round_number: int) -> Exchange:
        """See `Engine.exchange`."""
        inbox: list[tuple[int, bytes]] = []
        dropped = set()
        for member, message in outbox:
            if DropOut(member, round_number, phase) in self._drop_outs:
                dropped.add(member)
                continue
            inbox += [(member, reply) for reply in self._hospitals[member].receive(message)]
            self._on_answer(phase, member)
        return Exchange(tuple(inbox), frozenset(dropped))
