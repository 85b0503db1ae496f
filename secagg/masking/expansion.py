"""Where masks are computed: here, or here and in worker processes beside it, with the same result.

Knows when more processes pay, and how the pieces of a vector are handed out and come back. The one thing that outlives
a call is the set of idle workers, who are told to drop the keys. `docs/adr/0010-worker-processes.md` says why.
"""

from __future__ import annotations

import atexit
import os
from collections import deque
from collections.abc import Iterator
from typing import Final

import numpy as np

from secagg.encoding.ring import RingVector
from secagg.masking.keystream import MaskStreams, in_one_process
from secagg.masking.workers import SLOT_BYTES, Piece, Worker, first_to_answer

# Bytes of keystream (vector times keys) from which on workers are asked: 1 M parameters among 50 hospitals are 200 MB.
# Two cores to one, best of 60, by `bench_break_even`: 0.9 at 8 MiB, 1.1 at 16, 1.4 at 32, 1.7 at 64, 1.8 at 128.
WORTHWHILE: Final = 64 * 1024 * 1024
# Each takes about 25 MB of its own; and what adds their pieces up is one process.
MOST_WORKERS: Final = 15
# Pieces get smaller towards the end, so that all finish at once: guided self-scheduling (Polychronopoulos and Kuck
# 1987). A smaller piece than this costs more in messages than it saves in waiting.
_SMALLEST_PIECE: Final = 64 * 1024
_SHARES: Final = 3
# How long a piece is waited for when nothing else is left to do, before it is computed here too. A worker may have lost
# its core to somebody else.
_LEAST_WAIT_SECONDS: Final = 0.001
_SLOW_BYTES_A_SECOND: Final = 2e9


def over_processes(streams: MaskStreams, length: int) -> Iterator[tuple[int, RingVector]]:
    """An `Expander` that shares large work with a worker process for each further core, if they can be had."""
    work = length * streams.dtype.itemsize * len(streams.keys)
    team = _SPARE.take() if work >= WORTHWHILE else None
    if team is None:
        yield from in_one_process(streams, length)
        return
    try:
        yield from team.expand(streams, length)
    except BaseException:
        # Ctrl-C among them: what the workers still do belongs to nobody. New ones can be had.
        team.disband()
        _SPARE.allow()
        raise
    _SPARE.give_back(team)


class Team:
    """This process and its workers."""

    def __init__(self, workers: list[Worker]) -> None:
        self.workers = workers

    @classmethod
    def of_all_cores(cls) -> Team:
        """One worker for each core that this process may use beyond its own; fewer where no more can be had."""
        workers: list[Worker] = []
        for _ in range(min(usable_cores() - 1, MOST_WORKERS)):
            worker = Worker.start()
            if worker is None:
                break
            workers.append(worker)
        return cls(workers)

    def expand(self, streams: MaskStreams, length: int) -> Iterator[tuple[int, RingVector]]:
        """An `Expander`. A piece whose worker is late or fails is computed here."""
        todo = deque(_pieces(length, streams.dtype.itemsize, 1 + len(self.workers)))
        scratch = np.empty(SLOT_BYTES // streams.dtype.itemsize, streams.dtype)
        wait = _LEAST_WAIT_SECONDS + _SMALLEST_PIECE * len(streams.keys) / _SLOW_BYTES_A_SECOND
        while todo or any(worker.owing for worker in self.workers):
            for worker in self.workers:
                worker.fill(streams, todo)
            waiting = not todo
            if todo:
                start, count = todo.popleft()
                streams.sum_into(start, scratch[:count])
                yield start, scratch[:count]
            answering = first_to_answer(self.workers, wait if waiting else 0.0)
            for worker in answering:
                yield from worker.collect(streams.dtype)
            for worker in self.workers:
                if not worker.alive or (waiting and not answering):
                    todo.extend(worker.take_back())
            self._dismiss_the_dead()
        for worker in self.workers:
            worker.forget()
        self._dismiss_the_dead()

    def disband(self) -> None:
        """End every worker."""
        for worker in self.workers:
            worker.end()

    def _dismiss_the_dead(self) -> None:
        self.workers = [worker for worker in self.workers if worker.alive]


class _Spare:
    """At most one team, taken by one caller at a time: a list's pop and append are atomic."""

    def __init__(self) -> None:
        self._teams: list[Team | None] = [None]

    def take(self) -> Team | None:
        """The team, if there is one and nobody has it; made at the first call."""
        if usable_cores() < 2:
            return None
        try:
            team = self._teams.pop()
        except IndexError:
            return None
        return team or Team.of_all_cores()

    def give_back(self, team: Team) -> None:
        """Keep it for the next caller. A team that lost a worker goes on without; one that lost all is not made again:
        what ended them may do so every time."""
        if team.workers:
            self._teams.append(team)

    def allow(self) -> None:
        """A new team may be made."""
        self._teams[:] = [None]

    def end(self) -> None:
        """End the idle team."""
        while self._teams:
            team = self._teams.pop()
            if team:
                team.disband()


def usable_cores() -> int:
    """How many cores this process may use; 1 where the system does not say."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1


def _pieces(length: int, itemsize: int, processes: int) -> Iterator[Piece]:
    start, largest, smallest = 0, SLOT_BYTES // itemsize, _SMALLEST_PIECE // itemsize
    while start < length:
        share = (length - start) // (_SHARES * processes) // smallest * smallest
        count = min(max(share, smallest), largest, length - start)
        yield start, count
        start += count


_SPARE: Final = _Spare()
atexit.register(_SPARE.end)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_SPARE.allow)
