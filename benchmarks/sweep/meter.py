"""CPU time, wall time and memory by phase and party, where all parties share a process, one after another.

Knows clocks and the kernel's count of resident memory. Knows nothing of protocols.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from benchmarks.sweep.cohort import COORDINATOR
from benchmarks.sweep.measurement import Phase

_STATUS = Path("/proc/self/status")
_RESET = Path("/proc/self/clear_refs")


@dataclass
class Spent:
    """What one party has spent in one phase."""

    cpu: float = 0.0
    wall: float = 0.0
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


class MemoryGauge:
    """Measures memory; Linux only."""

    @contextmanager
    def of(self, spent: Spent, holding: int) -> Iterator[None]:
        """How far the process grows: it is the party's doing, since nobody else does anything meanwhile."""
        # The most that was resident counts from here on.
        _RESET.write_text("5", encoding="ascii")
        before = _resident("VmRSS")
        yield
        spent.peak = max(spent.peak, spent.held + _resident("VmHWM") - before + holding)
        spent.held += _resident("VmRSS") - before


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
        for party in (hospital, 0):
            spent = self.books[phase, party]
            spent.bytes_up += size
            spent.messages_up += 1

    def sent_down(self, phase: Phase, hospital: int, size: int) -> None:
        """A message from the coordinator."""
        for party in (hospital, 0):
            spent = self.books[phase, party]
            spent.bytes_down += size
            spent.messages_down += 1


def _resident(which: str) -> int:
    for line in _STATUS.read_text(encoding="ascii").splitlines():
        if line.startswith(which):
            return 1024 * int(line.split()[1])
    raise LookupError(which)
