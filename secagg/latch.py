"""What this hospital has already revealed, on disk before the bytes leave: the memory that a restart cannot lose.

Knows charters, epochs, rounds and survivor sets as numbers. Knows no secrets and no messages. SQLite with
``synchronous=FULL``: when a `record` method returns, the record survives a power cut.

The rules, for each charter: epochs only go up; rounds only go up, across epochs; a round is masked once, answered for
one survivor set at most, and revealed at most once, after it was masked. A site that has stopped stays so.

It also keeps when other members were seen last. They are told, and one whose own latch knows less has been rolled back.
And it keeps how far this site's own logs had come: one that does not go on from there has been rolled back.
Where a policy names officers, it keeps the policy that was accepted last.
"""

from __future__ import annotations

import os
import sqlite3
import struct
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Final, NamedTuple, Self

from secagg.errors import LocalProtocolError, RemoteProtocolError, SecaggError, TamperingError
from secagg.files import lock, unwritable_state
from secagg.signed_log import LogPlace
from secagg.sqlite_files import connect_to_write, opened_to_read

_SCHEMA = (
    """CREATE TABLE IF NOT EXISTS latch (
        charter BLOB PRIMARY KEY,
        epoch INTEGER NOT NULL,
        round INTEGER NOT NULL DEFAULT 0,
        survivors TEXT,
        revealed INTEGER NOT NULL DEFAULT 0
    ) STRICT""",
    """CREATE TABLE IF NOT EXISTS cohorts (
        charter BLOB NOT NULL,
        occasion BLOB NOT NULL,
        epoch INTEGER NOT NULL,
        survivors TEXT NOT NULL,
        PRIMARY KEY (charter, occasion, epoch, survivors)
    ) STRICT""",
    "CREATE TABLE IF NOT EXISTS stopped (charter BLOB PRIMARY KEY) STRICT",
    "CREATE TABLE IF NOT EXISTS seen (charter BLOB PRIMARY KEY, sightings BLOB NOT NULL) STRICT",
    "CREATE TABLE IF NOT EXISTS logs (name TEXT PRIMARY KEY, entries INTEGER NOT NULL, head TEXT NOT NULL) STRICT",
    """CREATE TABLE IF NOT EXISTS policy (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        head BLOB NOT NULL,
        content BLOB NOT NULL
    ) STRICT""",
)
LATCH_FILE: Final = "latch.sqlite"
_POLICY: Final = "SELECT head, content FROM policy"
_LOGS: Final = "SELECT name, entries, head FROM logs"
_STOPPED: Final = "SELECT 1 FROM stopped WHERE charter = ?"
_Record = tuple[str, tuple[object, ...]]


class Cohort(NamedTuple):
    """A survivor set, and the epoch in which shares were revealed for it."""

    epoch: int
    survivors: frozenset[int]


_SIGHTING: Final = struct.Struct(">II")
SIGHTING_SIZE: Final = _SIGHTING.size


class Sighting(NamedTuple):
    """The newest epoch and round in which a hospital is known to have taken part; 0 for none."""

    epoch: int = 0
    round: int = 0

    def pack(self) -> bytes:
        """8 bytes, both most significant first."""
        return _SIGHTING.pack(*self)

    @classmethod
    def unpack(cls, data: bytes) -> Sighting:
        """What `pack` made."""
        return cls(*_SIGHTING.unpack(data))

    def is_beyond(self, other: Sighting) -> bool:
        """Whether either number is larger than the other's."""
        return self.epoch > other.epoch or self.round > other.round


NEVER_SEEN: Final = Sighting()


class AcceptedPolicy(NamedTuple):
    """The policy that a site is held to, as bytes, and the end of the chain of changes that led to it."""

    head: bytes
    content: bytes


@dataclass(frozen=True)
class _Row:
    epoch: int = 0
    round: int = 0
    survivors: str | None = None
    revealed: int = 0


class Latch:
    """The latch in one file; one process at a time.

    Raises:
        InputError: ``state-in-use``, ``unwritable``.
        TamperingError: ``latch-damaged``, if the file is not a latch.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        # Whoever drops latches without closing them would run out of files.
        self._unlock = weakref.finalize(self, os.close, lock(path))
        try:
            self._database = _connect(path)
        except BaseException:
            self._unlock()
            raise

    def close(self) -> None:
        """Close the file and release its lock. May be called twice."""
        self._database.close()
        self._unlock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def last_epoch(self, charter: bytes) -> int:
        """The newest epoch entered under ``charter``, 0 if there was none."""
        return self._row(charter).epoch

    def last_round(self, charter: bytes) -> int:
        """The newest round masked under ``charter``, 0 if there was none."""
        return self._row(charter).round

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
        self._write(
            (
                "INSERT INTO latch (charter, epoch) VALUES (?, ?) "
                "ON CONFLICT (charter) DO UPDATE SET epoch = excluded.epoch",
                (charter, epoch),
            )
        )

    def record_masked(
        self, charter: bytes, epoch: int, round_number: int, logs: Mapping[str, LogPlace] = MappingProxyType({})
    ) -> None:
        """A masked vector of this round is about to leave.

        Args:
            logs: how far this site's logs have come, as for `record_logs`.

        Raises:
            RemoteProtocolError: ``round-already-masked``, unless the round is newer than every round before.
            LocalProtocolError: ``not-in-epoch``.
        """
        row = self._row(charter)
        if row.epoch != epoch:
            raise LocalProtocolError("not-in-epoch", f"This site has not entered epoch {epoch}.")
        if round_number <= row.round:
            raise RemoteProtocolError(
                "round-already-masked",
                f"Round {round_number} was asked for, but this site has sent round {row.round} already.",
                remedy="A retry is a new round.",
            )
        self._write(
            ("UPDATE latch SET round = ?, survivors = NULL, revealed = 0 WHERE charter = ?", (round_number, charter)),
            *_log_places(logs),
        )

    def record_agreed(self, charter: bytes, epoch: int, round_number: int, survivors: Sequence[int]) -> None:
        """A signature is about to leave that this site answers for ``survivors`` in this round, and for no others.

        Raises:
            RemoteProtocolError: ``already-answered``, unless this is the round masked last and unanswered.
        """
        row = self._row(charter)
        if row != _Row(epoch, round_number):
            raise RemoteProtocolError(
                "already-answered", f"Round {round_number} is not the one masked last, or was answered already."
            )
        self._write(("UPDATE latch SET survivors = ? WHERE charter = ?", (_listed(survivors), charter)))

    def record_revealed(
        self, charter: bytes, epoch: int, round_number: int, survivors: Sequence[int], occasion: bytes
    ) -> None:
        """Shares of this round are about to leave.

        Args:
            occasion: stands for what is summed: cohorts of the same occasion can be compared with one another.

        Raises:
            RemoteProtocolError: ``already-revealed``, unless this is the round masked last, nothing of it has left, and
                no other survivor set was agreed to.
        """
        row = self._row(charter)
        if (row.epoch, row.round, row.revealed) != (epoch, round_number, 0) or row.survivors not in (
            None,
            _listed(survivors),
        ):
            raise RemoteProtocolError(
                "already-revealed",
                f"Shares of round {round_number} were asked for, which this site did not mask last, "
                "has answered already, or answered for other survivors.",
            )
        self._write(
            _cohort(charter, epoch, survivors, occasion),
            ("UPDATE latch SET survivors = ?, revealed = 1 WHERE charter = ?", (_listed(survivors), charter)),
        )

    def record_opened(self, charter: bytes, epoch: int, survivors: Sequence[int], occasion: bytes) -> None:
        """A sum over ``survivors``, encrypted and not masked, is about to be opened here.

        Args:
            occasion: stands for what is summed: cohorts of the same occasion can be compared with one another.
        """
        self._write(_cohort(charter, epoch, survivors, occasion))

    def record_stopped(self, charter: bytes) -> None:
        """This site was given a forged sum under ``charter``, and does not go on."""
        self._write(("INSERT OR IGNORE INTO stopped VALUES (?)", (charter,)))

    def record_seen(self, charter: bytes, sightings: Mapping[int, Sighting]) -> None:
        """Other members were seen to take part. What is known already is kept where it is newer.

        Args:
            sightings: by member number.
        """
        known = dict(self.sightings(charter))
        for member, sighting in sightings.items():
            before = known.get(member, NEVER_SEEN)
            known[member] = Sighting(max(before.epoch, sighting.epoch), max(before.round, sighting.round))
        numbers = range(1, max(known, default=0) + 1)
        packed = b"".join(known.get(number, NEVER_SEEN).pack() for number in numbers)
        self._write(
            (
                "INSERT INTO seen VALUES (?, ?) ON CONFLICT (charter) DO UPDATE SET sightings = excluded.sightings",
                (charter, packed),
            )
        )

    def sightings(self, charter: bytes) -> Mapping[int, Sighting]:
        """What is known of other members, by member number."""
        found = self._read("SELECT sightings FROM seen WHERE charter = ?", charter)
        try:
            pairs = list(_SIGHTING.iter_unpack(found[0][0] if found else b""))
        except struct.error as error:
            raise _unusable(self._path, error) from error
        return {number: Sighting(*pair) for number, pair in enumerate(pairs, start=1)}

    def record_logs(self, places: Mapping[str, LogPlace]) -> None:
        """This site's logs have come so far: what is written there is on disk, and nothing of it has left yet.

        Args:
            places: by the name of the log.
        """
        self._write(*_log_places(places))

    def logs(self) -> Mapping[str, LogPlace]:
        """How far each log is known to have come, by its name."""
        return {name: LogPlace(*place) for name, *place in self._read(_LOGS)}

    def record_policy(self, policy: AcceptedPolicy) -> None:
        """This policy is in force from now on."""
        self._write(("INSERT OR REPLACE INTO policy VALUES (1, ?, ?)", tuple(policy)))

    def accepted_policy(self) -> AcceptedPolicy | None:
        """The policy in force; None where none is remembered."""
        found = self._read(_POLICY)
        return AcceptedPolicy(*found[0]) if found else None

    def is_stopped(self, charter: bytes) -> bool:
        """Whether this site has stopped under ``charter``."""
        return bool(self._read(_STOPPED, charter))

    def cohorts(self, charter: bytes, occasion: bytes) -> tuple[Cohort, ...]:
        """For whom this site has revealed shares on this occasion, and when."""
        rows = self._read("SELECT epoch, survivors FROM cohorts WHERE charter = ? AND occasion = ?", charter, occasion)
        try:
            return tuple(Cohort(epoch, frozenset(int(number) for number in text.split(","))) for epoch, text in rows)
        except ValueError as error:
            raise _unusable(self._path, error) from error

    def _row(self, charter: bytes) -> _Row:
        found = self._read("SELECT epoch, round, survivors, revealed FROM latch WHERE charter = ?", charter)
        return _Row(*found[0]) if found else _Row()

    def _read(self, query: str, *values: object) -> list[Any]:
        try:
            return self._database.execute(query, values).fetchall()
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
            raise _unusable(self._path, error) from error

    def _write(self, *records: _Record) -> None:
        """All of them or none, in one transaction."""
        try:
            # Commits at its end, or rolls back. A transaction that was left open would let no other begin.
            with self._database:
                self._database.execute("BEGIN IMMEDIATE")
                for statement, values in records:
                    self._database.execute(statement, values)
        except sqlite3.DatabaseError as error:
            raise _unusable(self._path, error) from error


def _connect(path: Path) -> sqlite3.Connection:
    try:
        return connect_to_write(path, *_SCHEMA)
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
        raise _unusable(path, error) from error


def read_logs(path: Path) -> Mapping[str, LogPlace]:
    """How far each log is known to have come, by the latch at ``path``, without taking its lock; nothing without one.

    Raises:
        InputError: ``unreadable``.
        TamperingError: ``latch-damaged``.
    """
    return {name: LogPlace(*place) for name, *place in _read_only(path, "logs", _LOGS)}


def read_accepted_policy(path: Path) -> AcceptedPolicy | None:
    """The policy in force by the latch at ``path``, without taking its lock; None without one.

    Raises:
        InputError: ``unreadable``.
        TamperingError: ``latch-damaged``.
    """
    found = _read_only(path, "policy", _POLICY)
    return AcceptedPolicy(*found[0]) if found else None


def read_is_stopped(path: Path, charter: bytes) -> bool:
    """Whether the site of the latch at ``path`` has stopped under ``charter``, without taking its lock.

    Raises:
        InputError: ``unreadable``.
        TamperingError: ``latch-damaged``.
    """
    return bool(_read_only(path, "stopped", _STOPPED, charter))


def _read_only(path: Path, table: str, query: str, *values: object) -> list[Any]:
    if not path.exists():
        return []
    try:
        with opened_to_read(path) as database:
            known = database.execute("SELECT 1 FROM sqlite_schema WHERE name = ?", (table,)).fetchall()
            return database.execute(query, values).fetchall() if known else []
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
        raise _unusable(path, error) from error


def _cohort(charter: bytes, epoch: int, survivors: Sequence[int], occasion: bytes) -> _Record:
    return "INSERT OR IGNORE INTO cohorts VALUES (?, ?, ?, ?)", (charter, occasion, epoch, _listed(survivors))


def _log_places(places: Mapping[str, LogPlace]) -> list[_Record]:
    statement = (
        "INSERT INTO logs VALUES (?, ?, ?) "
        "ON CONFLICT (name) DO UPDATE SET entries = excluded.entries, head = excluded.head"
    )
    return [(statement, (name, *place)) for name, place in places.items()]


def _listed(survivors: Sequence[int]) -> str:
    return ",".join(str(number) for number in sorted(survivors))


def _unusable(path: Path, error: Exception) -> SecaggError:
    # A damaged schema is quoted in SQLite's message, which Python reads as UTF-8. What SQLite calls operational has
    # to do with the disk and not with what is on it.
    if isinstance(error, sqlite3.OperationalError):
        return unwritable_state(path, error)
    return TamperingError(
        "latch-damaged",
        f"{path} is not a latch: {error}.",
        culprit=str(path),
        remedy="Never restore it from a backup: ask for a new charter, under which this site starts afresh.",
    )
