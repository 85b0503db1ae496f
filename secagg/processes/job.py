"""What can be done in pieces, here or in a worker process, and what a worker must be able to do.

Knows pieces and slots of shared memory. Knows nothing of processes, and of no job what it is about.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final, Protocol, TypeVar

Result = TypeVar("Result", covariant=True)

SLOTS: Final = 2
"""Into how many slots the memory that a worker shares is divided: it does one piece while the other is handed over."""

Piece = tuple[int, int]
"""Two numbers of which the job knows the meaning: the first element and how many, for example."""


class Work(IntEnum):
    """What a worker can be asked to do; `secagg.processes.worker_process` knows who does it."""

    NOTHING = 0
    EXPAND_MASKS = 1
    ENCRYPT = 2
    DECRYPT = 3
    ADD = 4
    VERIFY = 5


class Job(Protocol[Result]):
    """Work that is handed out in pieces.

    Attributes:
        work: of which kind.
        patience: for how many seconds a piece is waited for when nothing else is left to do.
    """

    @property
    def work(self) -> Work:
        """Of which kind."""

    @property
    def patience(self) -> float:
        """For how many seconds a late piece is waited for when nothing else is left to do."""

    def brief(self) -> bytes:
        """What a worker must know before the first piece. It may hold secrets: it goes through a pipe alone."""

    def hand_over(self, piece: Piece, slot: memoryview) -> None:
        """Write what a worker needs for a piece into the memory that it shares."""

    def result(self, piece: Piece, slot: memoryview) -> Result:
        """What a worker has made of a piece; valid until the slot is used again."""

    def compute(self, piece: Piece) -> Result:
        """The same, here."""


class Service(Protocol):
    """A job at the worker's."""

    def serve(self, piece: Piece, slot: memoryview) -> None:
        """Do a piece: read from ``slot`` what was handed over, and write the result there."""
