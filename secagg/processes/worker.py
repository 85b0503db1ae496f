"""One worker process, as its employer sees it.

Knows how it is started, spoken to and ended. Secrets go to it through a pipe, or in memory that both map and that has
no name, so that nothing is left behind, whatever ends either. A worker lives as long as the other end of its pipe does:
it needs nobody to end it when its employer is killed.

Linux only: elsewhere `Worker.start` gives None.
"""

from __future__ import annotations

import mmap
import os
import select
import subprocess
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np

from secagg.errors import LocalProtocolError
from secagg.processes.job import SLOTS, Job, Piece
from secagg.processes.worker_process import READY, encode_brief, encode_forget, encode_piece

SLOT_BYTES: Final = 512 * 1024
_WINDOW_BYTES: Final = SLOTS * SLOT_BYTES
# A worker that reads no order for so long is given up.
_PATIENCE_SECONDS: Final = 5.0
_ROOT: Final = str(Path(__file__).parents[2])
# The script of whoever employs it is never imported: it needs no `if __name__ == "__main__"`.
_PROGRAM: Final = (
    "import sys; sys.path.insert(0, sys.argv[1]); "
    "from secagg.processes.worker_process import main; main(*map(int, sys.argv[2:]))"
)

Result = TypeVar("Result")


class WorkerLostError(LocalProtocolError):
    """A worker has ended, or is stuck, and what it alone had is gone."""


class Worker:
    """A process that does pieces of a job. Two pieces at a time, so that it never waits for the next.

    Attributes:
        alive: False once it has failed or was ended; then it is good for nothing but `take_back`.
    """

    def __init__(self, process: subprocess.Popen[bytes], orders: int, answers: int, window: mmap.mmap) -> None:
        self._process = process
        self._orders, self._answers = orders, answers
        self._window = window
        os.set_blocking(orders, False)
        self.alive = True
        # What is expected in each slot; None if nobody waits for it any more.
        self._pending: dict[int, Piece | None] = {}
        self._ready = False
        self._job: Job[Any] | None = None
        _EMPLOYED.append(self)

    @classmethod
    def start(cls) -> Worker | None:
        """Start one; None where it cannot be had. It is of use later, when it has sent that it is ready."""
        if not hasattr(os, "memfd_create") or not sys.executable or getattr(sys, "frozen", False):
            return None
        with ExitStack() as its_own, ExitStack() as ours:
            try:
                memory = os.memfd_create("secagg pieces")
                its_own.callback(os.close, memory)
                # Else a lack of memory would show as a signal, at the first touch of a page.
                os.posix_fallocate(memory, 0, _WINDOW_BYTES)
                window = mmap.mmap(memory, _WINDOW_BYTES)
                its_orders, orders = _pipe(its_own, ours)
                answers, its_answers = _pipe(ours, its_own)
                process = subprocess.Popen(  # noqa: S603
                    [sys.executable, "-P", "-c", _PROGRAM, _ROOT, str(memory), str(_WINDOW_BYTES), str(its_answers)],
                    stdin=its_orders,
                    # Not the answers' way: whatever else a start-up hook prints must not be taken for one.
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    pass_fds=[memory, its_answers],
                    # Ctrl-C is for the employer.
                    start_new_session=True,
                    env=os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
                )
            except OSError:
                return None
            ours.pop_all()
        return cls(process, orders, answers, window)

    @property
    def answers(self) -> int:
        """The file descriptor that can be read when the worker has answered."""
        return self._answers

    @property
    def ready(self) -> bool:
        """Whether it has started, and lives."""
        return self._ready and self.alive

    @property
    def owing(self) -> bool:
        """Whether a piece is still expected of it."""
        return any(piece is not None for piece in self._pending.values())

    def fill(self, job: Job[Any], todo: deque[Piece]) -> None:
        """Give it pieces off ``todo`` until it has enough, and the brief first if it has not got it."""
        for slot in range(SLOTS):
            if not (todo and self.alive and self._ready) or slot in self._pending:
                continue
            if self._job is not job:
                self._job = job
                self._send(encode_brief(job.work, job.brief()))
                if not self.alive:
                    # It died over the brief: its pipe's number may be another file's by now.
                    return
            self._pending[slot] = piece = todo.popleft()
            job.hand_over(piece, self._slot(slot))
            self._send(encode_piece(slot, piece))

    def collect(self, job: Job[Result]) -> Iterator[tuple[Piece, Result]]:
        """The pieces that it has answered with, valid until it is given more."""
        try:
            answers = os.read(self._answers, SLOTS + 1)
        except OSError:
            answers = b""
        if not answers:
            self.end()
        for answer in answers:
            if answer == READY:
                self._ready = True
            elif answer not in self._pending:
                # It answers for what it was never given: whatever is wrong with it, its pieces are done elsewhere.
                return self.end()
            elif piece := self._pending.pop(answer):
                yield piece, job.result(piece, self._slot(answer))
        return None

    def forget(self) -> None:
        """Have it drop what it was told, and wipe what it was given and has made.

        What a late worker writes after that lies there until the next job is over.
        """
        if self._job is not None and self.alive:
            self._send(encode_forget())
            np.frombuffer(self._window, np.uint8)[:] = 0
        self._job = None

    def take_back(self) -> list[Piece]:
        """The pieces that were expected of it; what it still answers for them is ignored."""
        expected = [piece for piece in self._pending.values() if piece is not None]
        self._pending = dict.fromkeys(self._pending)
        return expected

    def end(self) -> None:
        """Kill it: it holds nothing that is worth a farewell."""
        if self.alive:
            self.alive = False
            _EMPLOYED.remove(self)
            self._process.kill()
            self._close()
            self._process.wait()

    def disown(self) -> None:
        """In a child of the employer: let go of the pipes, or they would keep the worker alive after its employer."""
        self.alive = False
        self._close()
        self._process.returncode = 0

    def _slot(self, slot: int) -> memoryview:
        return memoryview(self._window)[slot * SLOT_BYTES : (slot + 1) * SLOT_BYTES]

    def _close(self) -> None:
        os.close(self._orders)
        os.close(self._answers)

    def _send(self, order: bytes) -> None:
        rest = memoryview(order)
        poller = select.poll()
        poller.register(self._orders, select.POLLOUT)
        while rest:
            if not poller.poll(1000 * _PATIENCE_SECONDS):
                return self.end()
            try:
                rest = rest[os.write(self._orders, rest) :]
            except BlockingIOError:
                continue
            except OSError:
                return self.end()
        return None


def _pipe(reader: ExitStack, writer: ExitStack) -> tuple[int, int]:
    """A pipe whose ends are closed with their owners' stacks."""
    reading, writing = os.pipe()
    reader.callback(os.close, reading)
    writer.callback(os.close, writing)
    return reading, writing


def first_to_answer(workers: Sequence[Worker], patience: float) -> list[Worker]:
    """Those that have answered, or died; waits at most ``patience`` seconds for the first."""
    by_descriptor = {worker.answers: worker for worker in workers if worker.alive}
    poller = select.poll()
    for descriptor in by_descriptor:
        poller.register(descriptor, select.POLLIN)
    return [by_descriptor[descriptor] for descriptor, _ in poller.poll(1000 * patience)]


_EMPLOYED: Final[list[Worker]] = []


def _disown_all() -> None:
    while _EMPLOYED:
        _EMPLOYED.pop().disown()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_disown_all)
