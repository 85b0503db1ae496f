"""The whole consortium in one process: every party has its own folder and keys, and only bytes pass between them.

Knows hospitals by number, and faults to simulate. Knows nothing of what the bytes mean.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

from secagg.errors import InputError, SecaggError
from training.engines.base import Exchange, Outbox, Phase


class Party(Protocol):
    """A hospital as an engine sees it."""

    def receive(self, message: bytes) -> list[bytes]:
        """Take a message, give the replies.

        Raises:
            SecaggError: if it cannot answer.
        """


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
            f"{text!r} does not name a hospital, a round and a phase in which it drops out.",
            remedy=f"Write it as {next(iter(numbers))}:3 or {next(iter(numbers))}:3:reveal.",
        )
    return found


class EmbeddedEngine:
    """Delivers every message at once, in the order of the outbox, except to those who have dropped out.

    Who raises a `SecaggError` has dropped, as it would have in a building of its own. Any other exception is a fault of
    this very process, and is raised. Nobody is ever too late: there is nobody else to wait for.

    Args:
        on_answer: told of each message that was answered.
        on_failure: told why a member could not answer.
    """

    def __init__(
        self,
        hospitals: Mapping[int, Party],
        drop_outs: Collection[DropOut] = (),
        on_answer: Callable[[Phase, int], None] = lambda _phase, _member: None,
        on_failure: Callable[[int, SecaggError], None] = lambda _member, _error: None,
    ) -> None:
        self._hospitals = hospitals
        self._drop_outs = frozenset(drop_outs)
        self._on_answer = on_answer
        self._on_failure = on_failure

    def exchange(self, phase: Phase, outbox: Outbox, round_number: int) -> Exchange:
        """See `Engine.exchange`."""
        inbox: list[tuple[int, bytes]] = []
        dropped = {member for member, _ in outbox if not self._reaches(member, phase, round_number)}
        for member, message in outbox:
            if member in dropped:
                continue
            try:
                inbox += [(member, reply) for reply in self._hospitals[member].receive(message)]
            except SecaggError as error:
                dropped.add(member)
                self._on_failure(member, error)
            else:
                self._on_answer(phase, member)
        return Exchange(tuple(item for item in inbox if item[0] not in dropped), frozenset(dropped))

    def _reaches(self, member: int, phase: Phase, round_number: int) -> bool:
        return member in self._hospitals and DropOut(member, round_number, phase) not in self._drop_outs
