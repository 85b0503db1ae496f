"""The rows of a signed log's file, read and written past everything that guards them."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

Row = tuple[int, bytes, bytes]


def rows(path: Path) -> list[Row]:
    """Number, body and signature of each entry, in order."""
    with closing(sqlite3.connect(path)) as database:
        return database.execute("SELECT sequence, body, signature FROM entries ORDER BY sequence").fetchall()


def overwrite(path: Path, entries: Sequence[Row]) -> None:
    """Put these in place of all that the log has."""
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("DELETE FROM entries")
        database.executemany("INSERT INTO entries VALUES (?, ?, ?)", entries)
