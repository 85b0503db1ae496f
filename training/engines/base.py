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
        dropped: those who were sent something and did not answer in time, or whose answer failed.
    """

    inbox: tuple[tuple[int, bytes], ...]
    dropped: frozenset[int]


class Engine(Protocol):
    """Moves bytes between the coordinator and the hospitals."""

    def exchange(self, phase: Phase, outbox: Outbox, round_number: int) -> Exchange:
        """Deliver each message to its recipient and collect all replies.

        Args:
            round_number: the round this belongs to, 0 outside rounds: for logs and simulated faults.
        """
