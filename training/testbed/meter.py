"""What each party spends in each phase, where all parties share a process, one after another.

Knows clocks, parties and sizes. Knows nothing of protocols.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Literal, Protocol

from secagg.wire import COORDINATOR

Phase = Literal["set-up", "encoding", "round"]
"""``set-up``: one key set-up, for an epoch of rounds. ``encoding``: floats to what is sent and back, noise included.
``round``: from the vector to the verified sum."""


@dataclass
class Spent:
    """What one party has spent in one phase.

    Attributes:
        cpu, wall: seconds.
        yardsticks: CPU time in what the gauge compares it with, where it does; no number where it cannot.
        held, peak: bytes.
    """

    cpu: float = 0.0
    wall: float = 0.0
    yardsticks: float = 0.0
    held: int = 0
    peak: int = 0
    bytes_up: int = 0
    bytes_down: int = 0
    messages_up: int = 0
    messages_down: int = 0


Books = defaultdict[tuple[Phase, int], Spent]


class Gauge(Protocol):
    """Takes note of what is done within."""

    def of(self, spent: Spent, holding: int) -> AbstractContextManager[None]:
        """A context manager; ``holding``: bytes of what the party was given."""


class Stopwatch:
    """Measures time."""

    @contextmanager
    def of(self, spent: Spent, holding: int) -> Iterator[None]:
        """CPU and wall seconds."""
        del holding
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        spent.cpu += time.process_time() - cpu
        spent.wall += time.perf_counter() - wall


@dataclass
class Meter:
    """Keeps a book for every party and phase."""

    gauge: Gauge
    books: Books = field(default_factory=lambda: defaultdict(Spent))

    def of(self, phase: Phase, party: int, holding: int = 0) -> AbstractContextManager[None]:
        """What is done within is done by ``party``, who was given so many bytes for it."""
        spent = self.books[phase, party]
        if party != COORDINATOR:
            # Its vector and its message are gone by the time that it is asked again. The coordinator's sum stays.
            spent.held = 0
        return self.gauge.of(spent, holding)

    def sent_up(self, phase: Phase, hospital: int, size: int) -> None:
        """A message to the coordinator."""
        for party in (hospital, COORDINATOR):
            spent = self.books[phase, party]
            spent.bytes_up += size
            spent.messages_up += 1

    def sent_down(self, phase: Phase, hospital: int, size: int) -> None:
        """A message from the coordinator."""
        for party in (hospital, COORDINATOR):
            spent = self.books[phase, party]
            spent.bytes_down += size
            spent.messages_down += 1
