"""The one thing that an engine does: take messages out, bring answers back, and say who did not answer.

Knows bytes and member numbers. Knows nothing of protocols.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

Outbox = Sequence[tuple[int, bytes]]
"""(recipient's member number, message)."""


class Phase(StrEnum):
    """What is being exchanged: for logs, timeouts and the simulation of faults."""

    QUERY = "query"
    CATCH_UP = "catch-up"
    ADVERTISE = "advertise"
    DEAL = "deal"
    ACKNOWLEDGE = "acknowledge"
    READY = "ready"
    MASK = "mask"
    AGREE = "agree"
    REVEAL = "reveal"
    APPLY = "apply"
    CONCLUDE = "conclude"
    RELEASE = "release"
    WITNESS = "witness"


@dataclass(frozen=True)
class Exchange:
    """What came back.

    Attributes:
        inbox: (sender's member number, message), in the order of arrival.
        dropped: those who were sent something and whose answer is not in the inbox.
    """

    inbox: tuple[tuple[int, bytes], ...]
    dropped: frozenset[int]


class Engine(Protocol):
    """Moves bytes between the coordinator and the hospitals.

    What `exchange` promises, and `tests/training/engines` holds every engine to:

    - A message reaches its recipient unaltered and at most once; those to one recipient in the order of the outbox.
    - A recipient's replies are in the inbox, all of them, unaltered and in its order; or it has dropped, and none is.
    - Who is not there, cannot be reached, fails, answers too late or answers what cannot be read has dropped. It may
      have taken some of its messages, or all.
    - What a member does or leaves undone costs no other its answer, and raises nothing.
    - An answer is in the exchange that asked for it, or nowhere: one that comes too late is thrown away.

    Nothing secret rests on any of it: the messages are signed and numbered, and a coordinator may be its own engine.
    """

    def exchange(self, phase: Phase, outbox: Outbox, round_number: int) -> Exchange:
        """Deliver each message to its recipient and collect all replies.

        Args:
            outbox: one recipient may have several messages.
            round_number: the round this belongs to, 0 outside rounds: for logs and simulated faults.

        Raises:
            SecaggError: if the engine itself cannot go on, whoever is there.
        """
