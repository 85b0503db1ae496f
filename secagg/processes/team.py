"""This process and its workers, who share a job; and the one team that waits for the next.

Knows how pieces are handed out and come back. The one thing that outlives a call is the set of idle workers, who are
told to drop what they know. `docs/adr/0010-worker-processes.md` says why.
"""

from __future__ import annotations

import atexit
import os
from collections import deque
from collections.abc import Callable, Iterator
from typing import Final, TypeVar

# Looked up here by all who ask, so that one patch reaches them.
from secagg.processes.cores import usable_cores as usable_cores
from secagg.processes.job import Job, Piece
from secagg.processes.worker import Worker, first_to_answer

Result = TypeVar("Result")
Runner = Callable[[Job[Result], deque[Piece]], Iterator[tuple[Piece, Result]]]
"""Has pieces done, in any order."""

# Each takes about 25 MB of its own; and what puts their pieces together is one process.
MOST_WORKERS: Final = 15


class Team:
    """This process and its workers."""

    def __init__(self, workers: list[Worker]) -> None:
        self.workers = workers

    @classmethod
    def of_all_cores(cls) -> Team:
        """One worker for each core that this process may use beyond its own; fewer where no more can be had."""
        team = cls([])
        try:
            for _ in range(min(usable_cores() - 1, MOST_WORKERS)):
                worker = Worker.start()
                if worker is None:
                    break
                team.workers.append(worker)
        except BaseException:
            # Ctrl-C among them.
            team.disband()
            raise
        return team

    def run(self, job: Job[Result], todo: deque[Piece]) -> Iterator[tuple[Piece, Result]]:
        """Every piece with its result, in any order. A piece whose worker is late or fails is done here."""
        while todo or any(worker.owing for worker in self.workers):
            for worker in self.workers:
                worker.fill(job, todo)
            waiting = not todo
            if todo:
                piece = todo.popleft()
                yield piece, job.compute(piece)
            answering = first_to_answer(self.workers, job.patience if waiting else 0.0)
            for worker in answering:
                yield from worker.collect(job)
            for worker in self.workers:
                if not worker.alive or (waiting and not answering):
                    todo.extend(worker.take_back())
            self._dismiss_the_dead()
        self.forget()

    def forget(self) -> None:
        """Have everybody drop what they were told."""
        for worker in self.workers:
            worker.forget()
        self._dismiss_the_dead()

    def disband(self) -> None:
        """End every worker."""
        for worker in self.workers:
            worker.end()

    def _dismiss_the_dead(self) -> None:
        self.workers = [worker for worker in self.workers if worker.alive]


class Spare:
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
        try:
            return team or Team.of_all_cores()
        except BaseException:
            self.allow()
            raise

    def give_back(self, team: Team) -> None:
        """Keep it for the next caller. A team that lost a worker goes on without; one that lost all is not made again:
        what ended them may do so every time."""
        if team.workers:
            self._teams.append(team)

    def dismiss(self, team: Team) -> None:
        """End the team, whatever its workers are doing. A new one can be made."""
        team.disband()
        self.allow()

    def allow(self) -> None:
        """A new team may be made."""
        self._teams[:] = [None]

    def end(self) -> None:
        """End the idle team."""
        while self._teams:
            team = self._teams.pop()
            if team:
                team.disband()


def over_team(job: Job[Result], todo: deque[Piece]) -> Iterator[tuple[Piece, Result]]:
    """Every piece with its result: by the spare team, or here alone if there is none."""
    team = SPARE.take()
    if team is None:
        for piece in todo:
            yield piece, job.compute(piece)
        return
    try:
        yield from team.run(job, todo)
    except BaseException:
        # Ctrl-C among them.
        SPARE.dismiss(team)
        raise
    SPARE.give_back(team)


SPARE: Final = Spare()
atexit.register(SPARE.end)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=SPARE.allow)
