"""A log that only grows: chained by SHA-256, signed by its owner, verified whenever it is opened.

Knows how entries are stored, chained, signed and checked: in SQLite, ``synchronous=FULL``, one process at a time. Knows
nothing of what they say. When `SignedLog._write` returns, what it wrote survives a power cut. A tail that was cut off,
or an older copy put in its place, cannot be seen from the file alone: `require_reached` compares it with a place that
was noted elsewhere.
"""

from __future__ import annotations

import hashlib
import os
import re
import sqlite3
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Annotated, Final, Generic, NamedTuple, Protocol, Self, TypeVar

import msgspec

from secagg.errors import InputError, SecaggError, TamperingError
from secagg.files import lock, unwritable_state
from secagg.identity import SIGNATURE_SIZE, Signature
from secagg.json_documents import MALFORMED
from secagg.signature_batch import SignatureBatch
from secagg.sqlite_files import connect_to_write, opened_to_read

FIRST_PREVIOUS: Final = "0" * 64
_HEAD: Final = re.compile("[0-9a-f]{64}")
_SCHEMA = """
CREATE TABLE IF NOT EXISTS entries (
    sequence INTEGER PRIMARY KEY,
    body BLOB NOT NULL,
    signature BLOB NOT NULL
) STRICT
"""
# As SQLite keeps it, but for white space.
_KEPT: Final = _SCHEMA.replace("IF NOT EXISTS ", "").split()
_HOLDS: Final = "SELECT type, name, sql FROM sqlite_schema WHERE lower(name) = 'entries' OR type IN ('view', 'trigger')"
NOT_SIGNED: Final = "its signature is not this site's over its content"
# What SQLite says when it makes its files and there is no room: no sign of damage.
_DISK_IS_FULL: Final = frozenset({"SQLITE_FULL", "SQLITE_IOERR_WRITE", "SQLITE_IOERR_SHMSIZE", "SQLITE_IOERR_TRUNCATE"})

Sha256 = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]


def noted_head(noted: str, of: str, remedy: str) -> str:
    """The head of a chain as somebody noted it, in hexadecimal. What is none is a slip of the pen, and no tampering.

    Raises:
        InputError: ``bad-head``.
    """
    head = noted.strip().lower()
    if not _HEAD.fullmatch(head):
        raise InputError("bad-head", f"{noted!r} is no head of {of}.", culprit="--noted", remedy=remedy)
    return head


class Signer(Protocol):
    """A site's Ed25519 key."""

    @property
    def public_key(self) -> bytes:
        """32 bytes, raw."""

    def sign(self, message: bytes) -> bytes:
        """The 64-byte signature of ``message``."""


class LogPlace(NamedTuple):
    """How far a log has come: the number of its entries and the hash of the newest."""

    entries: int
    head: str


class LogEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What every entry has.

    Attributes:
        sequence: from 1.
        previous: hash of the entry before, `FIRST_PREVIOUS` in the first.
    """

    sequence: Annotated[int, msgspec.Meta(ge=1)]
    previous: Sha256

    def body(self) -> bytes:
        """The canonical bytes: JSON, sorted keys, no white space."""
        return msgspec.json.encode(self, order="sorted")


EntryT = TypeVar("EntryT", bound=LogEntry)
Draft = Callable[..., EntryT]
"""Makes an entry, given the keywords ``sequence`` and ``previous``: a `functools.partial` of its class."""


class SignedEntry(msgspec.Struct, Generic[EntryT], frozen=True, forbid_unknown_fields=True):
    """An entry and the site's signature of it, as they are in the log: for documents that hand entries on."""

    entry: EntryT
    signature: Signature


@dataclass(frozen=True)
class LogKind(Generic[EntryT]):
    """One kind of log: what sets its bytes and its errors apart from those of every other.

    Attributes:
        reason: its errors are ``<reason>-damaged``, ``<reason>-altered`` and ``<reason>-restored``.
        name, article: in sentences: ``"ledger"``, ``"a"``.
        remedy: what to do when it was damaged or altered.
        put_back: how the site comes by all its entries again when some are missing.
    """

    entry: type[EntryT]
    reason: str
    article: str
    name: str
    remedy: str
    put_back: str
    chain_label: bytes
    signature_label: bytes

    def chain_hash(self, body: bytes) -> str:
        """SHA-256, hexadecimal, that the next entry carries."""
        return hashlib.sha256(self.chain_label + body).hexdigest()

    def signed_bytes(self, body: bytes) -> bytes:
        """What the site signs of an entry."""
        return self.signature_label + bytes.fromhex(self.chain_hash(body))

    def require_readable(self, body: bytes) -> None:
        """Refuse what could be written and never read again: msgspec checks the types of what it reads only.

        Raises:
            ValueError
        """
        try:
            is_canonical = msgspec.json.decode(body, type=self.entry).body() == body
        except MALFORMED as error:
            raise ValueError(f"no entry of {self.article} {self.name}: {error}") from error
        if not is_canonical:
            raise ValueError(f"no entry of {self.article} {self.name}: it is not in canonical form")

    def first_unsigned(self, signed: Iterable[tuple[str, bytes]], public_key: bytes) -> int | None:
        """The index of the first entry whose signature is not ``public_key``'s; None if all are.

        Args:
            signed: each entry's chain hash, and its signature of 64 bytes.
        """
        batch = SignatureBatch(public_key, self.signature_label)
        for digest, signature in signed:
            batch.add(bytes.fromhex(digest), signature)
        return batch.first_invalid()

    def head(self, entries: Sequence[EntryT]) -> str:
        """The hash of the newest entry: it stands for the whole log."""
        return self.chain_hash(entries[-1].body()) if entries else FIRST_PREVIOUS

    def place(self, entries: Sequence[EntryT]) -> LogPlace:
        """How far a log with these entries has come."""
        return LogPlace(len(entries), self.head(entries))

    def require_reached(self, noted: LogPlace, entries: Sequence[EntryT], path: Path) -> None:
        """Refuse a log that does not go on from where it is known to have been.

        Raises:
            TamperingError: ``…-restored``: an older copy was put in its place, its end was cut off, or it is another.
        """
        if self.place(entries[: noted.entries]) != noted:
            raise self.restored(
                path, f"has {len(entries)} entries, and not the entry {noted.entries} that was seen in it"
            )

    def restored(self, path: Path, why: str) -> TamperingError:
        """The error for a log that is shorter than it was, or another one."""
        return TamperingError(
            f"{self.reason}-restored",
            f"The {self.name} {path} {why}: an older copy was put in its place, or it was cut off or removed.",
            culprit=str(path),
            remedy=f"{self.put_back} {self.remedy}",
        )

    def altered(self, path: Path, number: int, why: str) -> TamperingError:
        """The error for an entry that does not fit."""
        return TamperingError(
            f"{self.reason}-altered",
            f"Entry {number} of the {self.name} {path} was altered: {why}.",
            culprit=f"entry {number}",
            remedy=self.remedy,
        )

    def damaged(self, path: Path, error: Exception) -> TamperingError:
        """The error for a file that is no such log."""
        return TamperingError(
            f"{self.reason}-damaged",
            f"{path} cannot be read as {self.article} {self.name}: {error}.",
            culprit=str(path),
            remedy=self.remedy,
        )


class SignedLog(Generic[EntryT]):
    """A log of one kind in one file. Subclasses say what is entered, and when.

    Raises:
        InputError: ``state-in-use``, ``unwritable``.
        TamperingError: ``…-damaged``, ``…-altered``, naming the first entry that does not fit.
    """

    def __init__(self, path: Path, signer: Signer, kind: LogKind[EntryT]) -> None:
        self._path = path
        self._signer = signer
        self._kind = kind
        with ExitStack() as opened:
            opened.callback(os.close, lock(path))
            self._database = opened.enter_context(closing(_connect(path, kind)))
            verified = _verified(self._database, signer.public_key, path, kind)
            self._entries = [entry for entry, _ in verified]
            self._head = kind.head(self._entries)
            self._opened = opened.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file and release its lock. May be called twice."""
        self._opened.close()

    @property
    def entries(self) -> tuple[EntryT, ...]:
        """All entries, oldest first."""
        return tuple(self._entries)

    @property
    def head(self) -> str:
        """The hash of the newest entry: it stands for the whole log."""
        return self._head

    @property
    def place(self) -> LogPlace:
        """How far this log has come."""
        return LogPlace(len(self._entries), self._head)

    def require_reached(self, noted: LogPlace) -> None:
        """Refuse this log if it does not go on from where it is known to have been.

        Raises:
            TamperingError: ``…-restored``.
        """
        self._kind.require_reached(noted, self._entries, self._path)

    def _write(self, *drafts: Draft[EntryT]) -> None:
        """Write entries, all of them or none, durably.

        Raises:
            InputError: ``unwritable``.
            TamperingError: ``…-damaged``.
            ValueError: if one could not be read again.
        """
        signed, previous = [], self.head
        for sequence, draft in enumerate(drafts, start=len(self._entries) + 1):
            entry = draft(sequence=sequence, previous=previous)
            body = entry.body()
            # Once it is signed and noted nobody can take it back, and whoever reads it takes it for tampering.
            self._kind.require_readable(body)
            signed.append((entry, self._signer.sign(self._kind.signed_bytes(body))))
            previous = self._kind.chain_hash(body)
        if signed:
            self._insert(signed)

    def _insert(self, signed: Sequence[tuple[EntryT, bytes]]) -> None:
        rows = [(entry.sequence, entry.body(), signature) for entry, signature in signed]
        try:
            # One statement is one transaction.
            places = ", ".join(["(?, ?, ?)"] * len(rows))
            self._database.execute(f"INSERT INTO entries VALUES {places}", tuple(chain.from_iterable(rows)))  # noqa: S608
        except sqlite3.DatabaseError as error:
            raise self._unwritten(error) from error
        self._entries += [entry for entry, _ in signed]
        self._head = self._kind.chain_hash(rows[-1][1])

    def _unwritten(self, error: sqlite3.DatabaseError) -> SecaggError:
        if not isinstance(error, sqlite3.OperationalError):
            return self._kind.damaged(self._path, error)
        return unwritable_state(self._path, error)


def read_log(path: Path, public_key: bytes, kind: LogKind[EntryT]) -> tuple[EntryT, ...]:
    """Verify a log and give its entries, without taking its lock: for showing and auditing.

    Raises:
        InputError: ``unreadable``.
        TamperingError: ``…-damaged``, ``…-altered``, naming the first entry that does not fit.
    """
    return tuple(entry for entry, _ in read_signed(path, public_key, kind))


def read_signed(path: Path, public_key: bytes, kind: LogKind[EntryT]) -> tuple[tuple[EntryT, bytes], ...]:
    """The same with each entry's signature, for handing on.

    Raises:
        InputError: ``unreadable``.
        TamperingError: ``…-damaged``, ``…-altered``.
    """
    try:
        with opened_to_read(path) as database:
            return tuple(_verified(database, public_key, path, kind))
    except (sqlite3.Error, UnicodeDecodeError) as error:
        raise kind.damaged(path, error) from error


def signer_of(path: Path, keys: Iterable[bytes], kind: LogKind[EntryT]) -> bytes | None:
    """With which of these keys the first entry is signed; None if with none of them, or if there is no entry.

    Raises:
        InputError: ``unreadable``.
        TamperingError: ``…-damaged``.
    """
    try:
        with opened_to_read(path) as database, closing(_rows(database, path, kind)) as rows:
            first = next(rows, None)
    except (sqlite3.Error, UnicodeDecodeError) as error:
        raise kind.damaged(path, error) from error
    if first is None or not isinstance(first[1], bytes) or not _is_signature(first[2]):
        return None
    signed = [(kind.chain_hash(first[1]), first[2])]
    return next((key for key in keys if kind.first_unsigned(signed, key) is None), None)


def _connect(path: Path, kind: LogKind[EntryT]) -> sqlite3.Connection:
    try:
        return connect_to_write(path, _SCHEMA)
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
        if getattr(error, "sqlite_errorname", "") in _DISK_IS_FULL:
            raise unwritable_state(path, error) from error
        raise kind.damaged(path, error) from error


def _rows(
    database: sqlite3.Connection, path: Path, kind: LogKind[EntryT]
) -> Generator[tuple[int, bytes, bytes], None, None]:
    """One by one: a long log is never in memory as it is in the file."""
    try:
        _require_own_table(database)
        yield from database.execute("SELECT sequence, body, signature FROM entries ORDER BY sequence")
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
        # SQLite quotes a damaged schema in its message, and Python reads that as UTF-8.
        raise kind.damaged(path, error) from error


def _require_own_table(database: sqlite3.Connection) -> None:
    """Refuse entries that are not rows of the file: a view can have rows without end, which SQLite sorts on the disk.

    Raises:
        sqlite3.DatabaseError
    """
    found = database.execute(_HOLDS).fetchmany(2)
    if [(kind, name, str(sql).split()) for kind, name, sql in found] != [("table", "entries", _KEPT)]:
        raise sqlite3.DatabaseError("its entries are not in the one table that a log has")


def _verified(
    database: sqlite3.Connection, public_key: bytes, path: Path, kind: LogKind[EntryT]
) -> list[tuple[EntryT, bytes]]:
    chained: list[tuple[EntryT, bytes]] = []
    misfit: TamperingError | None = None
    signatures = SignatureBatch(public_key, kind.signature_label)
    try:
        with closing(_rows(database, path, kind)) as rows:
            for entry, digest, signature in _chained(rows, path, kind):
                chained.append((entry, signature))
                signatures.add(bytes.fromhex(digest), signature)
    except TamperingError as error:
        misfit = error
    # The first entry that does not fit is named: one whose signature is false may stand before one out of its place.
    unsigned = signatures.first_invalid()
    if unsigned is not None:
        raise kind.altered(path, unsigned + 1, NOT_SIGNED)
    if misfit:
        raise misfit
    return chained


def _chained(
    rows: Iterable[tuple[int, bytes, bytes]], path: Path, kind: LogKind[EntryT]
) -> Iterator[tuple[EntryT, str, bytes]]:
    """Each entry with its chain hash and its signature, which is not checked here."""
    previous = FIRST_PREVIOUS
    for number, (sequence, body, signature) in enumerate(rows, start=1):
        try:
            entry = msgspec.json.decode(body, type=kind.entry)
        except (TypeError, *MALFORMED) as error:
            raise kind.altered(path, number, NOT_SIGNED) from error
        if not _is_signature(signature):
            raise kind.altered(path, number, NOT_SIGNED)
        if (sequence, entry.sequence) != (number, number):
            raise kind.altered(path, number, "an entry before it is missing")
        if entry.previous != previous:
            raise kind.altered(path, number, "it does not follow the entry before it")
        if entry.body() != body:
            raise kind.altered(path, number, "it is not in canonical form")
        previous = kind.chain_hash(body)
        yield entry, previous, signature


def _is_signature(column: object) -> bool:
    """Whether what a file has in the place of a signature has the form of one."""
    return isinstance(column, bytes) and len(column) == SIGNATURE_SIZE
