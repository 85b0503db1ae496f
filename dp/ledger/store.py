"""The ledger's file: SQLite, ``synchronous=FULL``, append-only, one process at a time, verified whenever it is opened.

Knows how entries are stored, chained, signed and checked, and when a budget refuses one. When a method that writes
returns, the entry survives a power cut. A tail that was cut off, or an older copy put in its place, cannot be seen from
the file alone: compare `Ledger.head` with one noted elsewhere.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from dp.ledger.entries import FIRST_PREVIOUS, NOTHING, Cost, Entry, Kind, chain_hash, signed_bytes
from dp.ledger.spending import RunSpending, Spending, cost_epsilon, spending_of
from secagg.errors import RefusedError, TamperingError
from secagg.files import PRIVATE, lock, unreadable, unwritable

_SCHEMA = """
CREATE TABLE IF NOT EXISTS entries (
    sequence INTEGER PRIMARY KEY,
    body BLOB NOT NULL,
    signature BLOB NOT NULL
) STRICT
"""


class Signer(Protocol):
    """A site's Ed25519 key."""

    @property
    def public_key(self) -> bytes:
        """32 bytes, raw."""

    def sign(self, message: bytes) -> bytes:
        """The 64-byte signature of ``message``."""


class Budget(msgspec.Struct, frozen=True):
    """The most that a data set may ever spend: epsilon at delta."""

    epsilon: float
    delta: float


class Ledger:
    """The ledger of one site.

    Raises:
        InputError: ``state-in-use``, ``unwritable``.
        TamperingError: ``ledger-damaged``, ``ledger-altered``, naming the first entry that does not fit.
    """

    def __init__(self, path: Path, signer: Signer) -> None:
        self._signer = signer
        self._lock = lock(path)
        try:
            self._database = _connect(path)
            self._entries = _verified(self._database, signer.public_key, path)
        except BaseException:
            os.close(self._lock)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        self._database.close()
        os.close(self._lock)

    @property
    def entries(self) -> tuple[Entry, ...]:
        """All entries, oldest first."""
        return tuple(self._entries)

    @property
    def head(self) -> str:
        """The hash of the newest entry: it stands for the whole ledger."""
        return chain_hash(self._entries[-1].body()) if self._entries else FIRST_PREVIOUS

    def spending(self, data_set: str) -> Spending:
        """What a data set has spent."""
        return spending_of(self._entries, data_set)

    def reserve(self, data_set: str, run: str, cost: Cost, budget: Budget, time: str) -> None:
        """Hold ``cost`` in all for ``run``; nothing new is held if it holds that much already.

        Raises:
            RefusedError: ``budget-exceeded``, with what is left and what the run would cost.
        """
        spending = self.spending(data_set)
        before = spending.run(run)
        wanted = RunSpending(run, before.reserved.at_least(cost), before.charged, before.rounds)
        if not before.closed and before.reserved == wanted.reserved and before.reserved != NOTHING:
            return
        # Written so that a budget or a cost that is no number refuses.
        if not spending.epsilon_with(wanted, budget.delta) <= budget.epsilon:
            raise _exceeded(spending, wanted, budget)
        self._append(Kind.RESERVE, data_set, run, 0, cost, budget.delta, time)

    def charge(self, data_set: str, run: str, round_number: int, cost: Cost, budget: Budget, time: str) -> None:
        """Record that a round is about to release something. Extends the reservation first where it is used up.

        Raises:
            RefusedError: ``budget-exceeded``: nothing may be released.
        """
        self.reserve(data_set, run, self.spending(data_set).run(run).charged.plus(cost), budget, time)
        self._append(Kind.CHARGE, data_set, run, round_number, cost, budget.delta, time)

    def note_unprotected(self, data_set: str, run: str, round_number: int, delta: float, time: str) -> None:
        """Record that a round is about to release something without differential privacy."""
        self._append(Kind.UNPROTECTED, data_set, run, round_number, NOTHING, delta, time)

    def commit(self, data_set: str, run: str, round_number: int, budget: Budget, time: str) -> None:
        """Record that a round's sum was applied."""
        self._append(Kind.COMMIT, data_set, run, round_number, NOTHING, budget.delta, time)

    def close_run(self, data_set: str, run: str, budget: Budget, time: str) -> None:
        """Record that a run is over: what it reserved and did not charge is free again. None is over that never was."""
        known = self.spending(data_set).run(run)
        if known != RunSpending(run) and not known.closed:
            self._append(Kind.CLOSE, data_set, run, 0, NOTHING, budget.delta, time)

    def _append(
        self, kind: Kind, data_set: str, run: str, round_number: int, cost: Cost, delta: float, time: str
    ) -> None:
        entry = Entry(
            sequence=len(self._entries) + 1,
            kind=kind,
            data_set=data_set,
            run=run,
            round=round_number,
            cost=cost,
            delta=delta,
            time=time,
            previous=self.head,
        )
        body = entry.body()
        row = (entry.sequence, body, self._signer.sign(signed_bytes(body)))
        self._database.execute("INSERT INTO entries VALUES (?, ?, ?)", row)
        self._entries.append(entry)


def read_ledger(path: Path, public_key: bytes) -> tuple[Entry, ...]:
    """Verify a ledger and give its entries, without taking its lock: for showing and auditing.

    Raises:
        InputError: ``unreadable``.
        TamperingError: ``ledger-damaged``, ``ledger-altered``, naming the first entry that does not fit.
    """
    try:
        path.open("rb").close()
    except OSError as error:
        raise unreadable(path, error) from error
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
            return tuple(_verified(database, public_key, path))
    except sqlite3.Error as error:
        raise _damaged(path, error) from error


def _connect(path: Path) -> sqlite3.Connection:
    # SQLite gives its side files the mode that this one has when they are made.
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, PRIVATE))
        path.chmod(PRIVATE)
    except OSError as error:
        raise unwritable(path, error) from error
    try:
        database = sqlite3.connect(path, isolation_level=None)
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=FULL")
        database.execute(_SCHEMA)
    except sqlite3.DatabaseError as error:
        raise _damaged(path, error) from error
    return database


def _verified(database: sqlite3.Connection, public_key: bytes, path: Path) -> list[Entry]:
    key = Ed25519PublicKey.from_public_bytes(public_key)
    entries: list[Entry] = []
    previous = FIRST_PREVIOUS
    try:
        rows: Sequence[tuple[int, bytes, bytes]] = database.execute(
            "SELECT sequence, body, signature FROM entries ORDER BY sequence"
        ).fetchall()
    except sqlite3.DatabaseError as error:
        raise _damaged(path, error) from error
    for number, (sequence, body, signature) in enumerate(rows, start=1):
        try:
            entry = msgspec.json.decode(body, type=Entry)
            key.verify(signature, signed_bytes(body))
        except (msgspec.DecodeError, UnicodeDecodeError, InvalidSignature, TypeError) as error:
            raise _altered(path, number, "its signature is not this site's over its content") from error
        if (sequence, entry.sequence) != (number, number):
            raise _altered(path, number, "an entry before it is missing")
        if entry.previous != previous:
            raise _altered(path, number, "it does not follow the entry before it")
        if entry.body() != body:
            raise _altered(path, number, "it is not in canonical form")
        entries.append(entry)
        previous = chain_hash(body)
    return entries


def _exceeded(spending: Spending, wanted: RunSpending, budget: Budget) -> RefusedError:
    spent = spending.epsilon(budget.delta)
    alone = cost_epsilon(wanted.counted, budget.delta)
    total = spending.epsilon_with(wanted, budget.delta)
    return RefusedError(
        "budget-exceeded",
        f"The data set has spent epsilon {spent:.3f} of {budget.epsilon:g} (delta {budget.delta:g}), "
        f"{max(0.0, budget.epsilon - spent):.3f} is left. The run would cost {alone:.3f} and bring it to {total:.3f}.",
        culprit=f"data set {spending.data_set[:16]}",
        remedy="Train fewer rounds or with more noise; only this site's policy can raise its budget.",
    )


def _altered(path: Path, number: int, why: str) -> TamperingError:
    return TamperingError(
        "ledger-altered",
        f"Entry {number} of the ledger {path} was altered: {why}.",
        culprit=f"entry {number}",
        remedy="Nothing is trained on this site's data until an officer has looked into it.",
    )


def _damaged(path: Path, error: Exception) -> TamperingError:
    return TamperingError(
        "ledger-damaged",
        f"{path} cannot be read as a ledger: {error}.",
        culprit=str(path),
        remedy="Nothing is trained on this site's data until an officer has looked into it.",
    )
