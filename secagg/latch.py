"""What this hospital has already revealed, on disk before the bytes leave: the memory that a restart cannot lose.

Knows charters, epochs and rounds as numbers. Knows no secrets and no messages. SQLite with ``synchronous=FULL``: when a
`record` method returns, the record survives a power cut.

The rules, for each charter: epochs only go up; rounds only go up, across epochs; a round is masked at most once, and
revealed at most once, after it was masked.
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from types import TracebackType
from typing import Self

from secagg.errors import LocalProtocolError, RemoteProtocolError, TamperingError
from secagg.files import PRIVATE, lock

_SCHEMA = """
CREATE TABLE IF NOT EXISTS latch (
    charter BLOB PRIMARY KEY,
    epoch INTEGER NOT NULL,
    round INTEGER NOT NULL DEFAULT 0,
    revealed INTEGER NOT NULL DEFAULT 0
) STRICT
"""


class Latch:
    """The latch in one file; one process at a time.

    Raises:
        InputError: ``state-in-use``, ``unwritable``.
        TamperingError: ``latch-damaged``, if the file is not a latch.
    """

    def __init__(self, path: Path) -> None:
        self._lock = lock(path)
        try:
            self._database = sqlite3.connect(path, isolation_level=None)
            self._database.execute("PRAGMA journal_mode=WAL")
            self._database.execute("PRAGMA synchronous=FULL")
            self._database.execute(_SCHEMA)
            path.chmod(PRIVATE)
        except sqlite3.DatabaseError as error:
            os.close(self._lock)
            raise TamperingError(
                "latch-damaged",
                f"{path} is not a latch: {error}.",
                culprit=str(path),
                remedy="Never restore it from a backup: ask for a new charter, under which this site starts afresh.",
            ) from error

    def close(self) -> None:
        """Let go of the file."""
        self._database.close()
        os.close(self._lock)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def last_epoch(self, charter: bytes) -> int:
        """The newest epoch entered under ``charter``, 0 if there was none."""
        return self._row(charter)[0]

    def last_round(self, charter: bytes) -> int:
        """The newest round masked under ``charter``, 0 if there was none."""
        return self._row(charter)[1]

    def record_epoch(self, charter: bytes, epoch: int) -> None:
        """Enter ``epoch``.

        Raises:
            RemoteProtocolError: ``stale-epoch``, unless it is newer than every epoch before.
        """
        if epoch <= self.last_epoch(charter):
            raise RemoteProtocolError(
                "stale-epoch",
                f"Epoch {epoch} was proposed, but this site has been in epoch {self.last_epoch(charter)} already.",
                remedy="The coordinator must open a newer epoch.",
            )
        self._database.execute(
            "INSERT INTO latch (charter, epoch) VALUES (?, ?) "
            "ON CONFLICT (charter) DO UPDATE SET epoch = excluded.epoch",
            (charter, epoch),
        )

    def record_masked(self, charter: bytes, epoch: int, round_number: int) -> None:
        """A masked vector of this round is about to leave.

        Raises:
            RemoteProtocolError: ``round-already-masked``, unless the round is newer than every round before.
            LocalProtocolError: ``not-in-epoch``.
        """
        entered, last, _ = self._row(charter)
        if entered != epoch:
            raise LocalProtocolError("not-in-epoch", f"This site has not entered epoch {epoch}.")
        if round_number <= last:
            raise RemoteProtocolError(
                "round-already-masked",
                f"Round {round_number} was asked for, but this site has sent round {last} already.",
                remedy="A retry is a new round.",
            )
        self._database.execute("UPDATE latch SET round = ?, revealed = 0 WHERE charter = ?", (round_number, charter))

    def record_revealed(self, charter: bytes, epoch: int, round_number: int) -> None:
        """Shares of this round are about to leave.

        Raises:
            RemoteProtocolError: ``already-revealed``, unless this is the round masked last and nothing of it has left.
        """
        entered, last, revealed = self._row(charter)
        if (entered, last, revealed) != (epoch, round_number, 0):
            raise RemoteProtocolError(
                "already-revealed",
                f"Shares of round {round_number} were asked for, which this site did not mask last "
                "or has answered already.",
            )
        self._database.execute("UPDATE latch SET revealed = 1 WHERE charter = ?", (charter,))

    def _row(self, charter: bytes) -> tuple[int, int, int]:
        row = self._database.execute(
            "SELECT epoch, round, revealed FROM latch WHERE charter = ?", (charter,)
        ).fetchone()
        return row or (0, 0, 0)
