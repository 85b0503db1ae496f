"""Opens a site's SQLite files: for their one owner, who writes, and for whoever only reads.

Knows which files SQLite has, whom they are to be readable for, and what SQLite says where it cannot make them. Knows
nothing of what is in them.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Final

from secagg.errors import InputError
from secagg.files import PRIVATE, can_open, too_many_files, unreadable, unwritable

# How the names of its errors begin where a file, or those that it puts beside it, cannot be opened: no sign of damage.
_NOT_OPENED: Final = ("SQLITE_CANTOPEN", "SQLITE_READONLY", "SQLITE_PERM")
# The file, and two beside it.
_OPEN_AT_ONCE: Final = 3
# What was written last may be in one of these and not yet in the file itself.
_NOT_YET_MERGED: Final = ("-wal", "-journal")
# More bytes than any field of a site's files has: of a file from elsewhere no larger one is read.
_LARGEST_FIELD: Final = 1 << 24
# Pages after which SQLite writes its log from the start again. Until then each commit makes the file longer, which the
# file system has to note too: that takes half as long again of CPU, and twice the time.
_LOG_PAGES: Final = 100


def connect_to_write(path: Path, *schema: str) -> sqlite3.Connection:
    """A connection for a file's one owner, with the tables of ``schema``: private, and durable when a commit returns.

    The file is made where there is none, mode 0600, and so is what SQLite puts beside it. Journal mode WAL,
    ``synchronous=FULL``; each statement is a transaction of its own unless one is begun.

    Args:
        schema: one statement each; they must do nothing where the tables exist.

    Raises:
        InputError: ``unwritable``; ``too-many-files``.
        sqlite3.DatabaseError, UnicodeDecodeError: it is no such file, a damaged one, or there is no room.
    """
    try:
        # First: SQLite gives the files beside it the mode that this one has when they are made.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, PRIVATE))
        path.chmod(PRIVATE)
    except OSError as error:
        raise unwritable(path, error) from error
    settings = ("journal_mode=WAL", "synchronous=FULL", f"wal_autocheckpoint={_LOG_PAGES}")
    with _for_want_of_files(path):
        database = sqlite3.connect(path, isolation_level=None)
        try:
            for statement in (*(f"PRAGMA {setting}" for setting in settings), *schema):
                database.execute(statement)
        except BaseException:
            database.close()
            raise
    return database


@contextmanager
def opened_to_read(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that only reads, and sees all that was written.

    The file may be anybody's: what its schema defines calls no function that is not harmless, and a field larger than
    any of a site's is an error. That what is read is a table, and no view, is for the caller to look at.

    To read beside a writer, SQLite makes a file of its own there. Where it cannot, nobody writes either, and the file
    is read as one that never changes; not so if a part of it is still in another file, which would go unread.

    Raises:
        InputError: ``unreadable``; ``too-many-files``.
        sqlite3.Error, UnicodeDecodeError: if it is no such file, or a damaged one.
    """
    try:
        path.open("rb").close()
    except OSError as error:
        raise unreadable(path, error) from error
    with closing(_connected(path)) as database:
        yield database


def _connected(path: Path) -> sqlite3.Connection:
    address = f"{path.absolute().as_uri()}?mode=ro"
    try:
        with _for_want_of_files(path):
            return _tried(address)
    except sqlite3.OperationalError as error:
        if not error.sqlite_errorname.startswith(_NOT_OPENED):
            raise
        if not _is_in_parts(path):
            with suppress(sqlite3.OperationalError):
                return _tried(f"{address}&immutable=1")
        raise InputError(
            "unreadable",
            f"{path} cannot be read where it is: {error}. That says nothing of what is in it.",
            culprit=str(path),
            remedy="Copy its folder, with all files whose names begin like it, to where you can write, and read that.",
        ) from error


def _tried(address: str) -> sqlite3.Connection:
    database = sqlite3.connect(address, uri=True)
    try:
        database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _LARGEST_FIELD)
        database.execute("PRAGMA trusted_schema = OFF")
        # Nothing is opened before something is read.
        database.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    except BaseException:
        database.close()
        raise
    return database


@contextmanager
def _for_want_of_files(path: Path) -> Iterator[None]:
    """Tell what SQLite could not open because too many files are open from what it could not open for other reasons."""
    try:
        yield
    except sqlite3.OperationalError as error:
        # What it had opened is closed by now.
        if getattr(error, "sqlite_errorname", "").startswith(_NOT_OPENED) and not can_open(_OPEN_AT_ONCE):
            raise too_many_files(path) from error
        raise


def _is_in_parts(path: Path) -> bool:
    beside = [path.with_name(path.name + suffix) for suffix in _NOT_YET_MERGED]
    return any(file.exists() and file.stat().st_size for file in beside)
