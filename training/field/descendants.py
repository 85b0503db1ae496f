"""What a process has started, and what that has started in turn, also in sessions of their own.

Knows Linux's /proc; where there is none, nothing is found. Numbers of processes are used again: with each goes when it
was started, so that nobody else is ended in its place.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

_PROC = Path("/proc")
# In what follows the name in brackets, which may hold anything.
_STARTED = 19


class Descendant(NamedTuple):
    """A process: its number, and when it was started, in ticks since the machine was."""

    number: int
    started: int

    def end(self) -> None:
        """Kill it, if it is still there."""
        if _started(self.number) == self.started:
            with suppress(ProcessLookupError):
                os.kill(self.number, signal.SIGKILL)


def descendants(number: int) -> frozenset[Descendant]:
    """All that the process with this number has started and that is still there."""
    found: set[Descendant] = set()
    waiting = [number]
    while waiting:
        for child in _children(waiting.pop()):
            started = _started(child)
            if started is not None:
                found.add(Descendant(child, started))
                waiting.append(child)
    return frozenset(found)


def _children(number: int) -> list[int]:
    children: list[int] = []
    for path in _PROC.glob(f"{number}/task/*/children"):
        with suppress(OSError):
            children += map(int, path.read_text().split())
    return children


def _started(number: int) -> int | None:
    try:
        return int((_PROC / str(number) / "stat").read_text().rpartition(")")[2].split()[_STARTED])
    except OSError:
        return None
