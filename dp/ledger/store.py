"""The ledger: a signed log of what is spent, and when a budget refuses an entry.

Knows which entries are written and when. How they are stored, chained, signed and checked is `secagg.signed_log`'s
business: when a method that writes returns, the entry survives a power cut.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Final

import msgspec
from msgspec.structs import replace

from dp.ledger.account import Account, patients_folder
from dp.ledger.entries import LEDGER, NOTHING, Cost, Entry, Kind
from dp.ledger.export import (
    DataSetRun,
    LedgerExport,
    continuation,
    foreign_spending,
    open_runs,
    run_of,
    runs_that_went_on,
)
from dp.ledger.patients import PatientList
from dp.ledger.spending import RunSpending, Spending, cost_epsilon
from dp.stated import exact, no_less, no_more
from secagg.errors import RefusedError
from secagg.signed_log import SignedLog, Signer

# SQLite takes so many values in one statement, and an entry is three.
_AT_ONCE: Final = 5000
_FOREIGN: Final = b"secagg foreign data set 1\n"
_MOST_NAMED: Final = 5


class Budget(msgspec.Struct, frozen=True):
    """The most that a data set may ever spend: epsilon at delta."""

    epsilon: float
    delta: float


class Ledger(SignedLog[Entry]):
    """The ledger of one site; the lists of its data sets' patients are in a folder beside it.

    Raises:
        InputError: ``state-in-use``, ``unwritable``.
        TamperingError: ``ledger-damaged``, ``ledger-altered``, naming the first entry that does not fit;
            ``patients-altered``.
    """

    def __init__(self, path: Path, signer: Signer) -> None:
        super().__init__(path, signer, LEDGER)
        try:
            self._account = Account.load(self._entries, patients_folder(path))
        except BaseException:
            self.close()
            raise

    @property
    def account(self) -> Account:
        """What all entries come to."""
        return self._account

    def enrol(self, patients: PatientList) -> str:
        """Keep the list of a data set's patients, durably; give the name that the data set has from now on.

        A data set without a list is taken to share patients with every other.

        Raises:
            InputError: ``unwritable``.
            TamperingError: ``patients-altered``.
        """
        return self._account.enrol(patients, patients_folder(self._path))

    def spending(self, data_set: str) -> Spending:
        """What a data set's patients have spent, in whatever data sets they were."""
        return self._account.spending(data_set)

    def reserve(self, data_set: str, run: str, cost: Cost, budget: Budget, time: str) -> None:
        """Hold ``cost`` in all for ``run``; nothing new is held if it holds that much already.

        Raises:
            RefusedError: ``budget-exceeded``, with what is left and what the run would cost.
        """
        spending = self.spending(data_set)
        wanted = _holding(spending.run(run), cost)
        if wanted is None:
            return
        if _lacking(spending, wanted, budget) is not None:
            raise _exceeded(spending, wanted, budget)
        self._append(Kind.RESERVE, data_set, run, 0, cost, budget.delta, time)

    def lacking(self, data_set: str, run: str, cost: Cost, budget: Budget) -> float | None:
        """The epsilon that a budget would have to allow for `reserve` to hold ``cost``; None where this one does."""
        spending = self.spending(data_set)
        wanted = _holding(spending.run(run), cost)
        return None if wanted is None else _lacking(spending, wanted, budget)

    def charge(self, data_set: str, run: str, round_number: int, cost: Cost, budget: Budget, time: str) -> None:
        """Record that a round is about to release something. Extends the reservation first where it is used up.

        Raises:
            RefusedError: ``budget-exceeded``, ``run-released``: nothing may be released.
        """
        known = self.spending(data_set).run(run)
        if known.released:
            raise RefusedError(
                "run-released",
                "This run was given up, and what it had reserved is free again.",
                culprit=f"charter {run[:16]}",
                remedy="Start it again: it reserves what is left of it, if the budget allows.",
            )
        self.reserve(data_set, run, known.charged.plus(cost), budget, time)
        self._append(Kind.CHARGE, data_set, run, round_number, cost, budget.delta, time)

    def note_unprotected(self, data_set: str, run: str, round_number: int, delta: float, time: str) -> None:
        """Record that a round is about to release something without differential privacy."""
        self._append(Kind.UNPROTECTED, data_set, run, round_number, NOTHING, delta, time)

    def commit(self, data_set: str, run: str, round_number: int, delta: float, time: str) -> None:
        """Record that a round's sum was applied."""
        self._append(Kind.COMMIT, data_set, run, round_number, NOTHING, delta, time)

    def close_run(self, data_set: str, run: str, delta: float, time: str) -> None:
        """Record that a run is over: what it reserved and did not charge is free again.

        Nothing is written for a run that is unknown or closed.
        """
        known = self.spending(data_set).run(run)
        if known != RunSpending(run) and not known.closed:
            self._append(Kind.CLOSE, data_set, run, 0, NOTHING, delta, time)

    def release_run(self, data_set: str, run: str, time: str) -> None:
        """Record that a run is given up: what it reserved and did not charge is free again.

        Every charge is written before anything of its round leaves, so that nothing beyond the charges has left.
        """
        known = self.spending(data_set).run(run)
        if known != RunSpending(run) and not known.closed:
            self._append(Kind.RELEASE, data_set, run, 0, NOTHING, self._account.delta(data_set), time)

    def take_over(self, export: LedgerExport, as_data_set: str | None = None) -> int:
        """Record what another ledger of this site says was spent, and nothing twice. Cut short, it goes on if repeated.

        A ledger that has only fallen behind itself gets its own entries back as they were. Of any other, each charge is
        recorded with its origin, and the reservations of runs that it says are open; also a reservation from before the
        other was copied from this one, if its run is over here and went on there. Returns how many entries are new.

        A data set whose list of patients is here, made under the same key, keeps its name. Of one without a list nobody
        knows who they are: it counts with every data set.

        Args:
            export: verified.
            as_data_set: the data set here that all others were spent from. If not given, those of a ledger under
                another key get a name that no list has: to this key all patients on that one's lists are strangers.

        Raises:
            InputError: ``unwritable``.
        """
        missing = continuation(export, self._signer.public_key, self._entries)
        if missing:
            for start in range(0, len(missing), _AT_ONCE):
                self._insert([(item.entry, item.signature) for item in missing[start : start + _AT_ONCE]])
            return len(missing)
        own = {LEDGER.chain_hash(entry.body()) for entry in self._entries}
        went_on = {run for run in runs_that_went_on(export, self._entries) if self._is_over(run)}
        new = {
            spent.origin: _as_of(spent, self._name_here(spent.data_set, export.public_key, as_data_set))
            for spent in foreign_spending(export)
            if spent.origin is not None
            and not self._account.has_imported(spent.origin)
            and (spent.origin not in own or (spent.kind is Kind.RESERVE and run_of(spent) in went_on))
        }
        drafts = [partial(replace, spent) for spent in new.values()]
        for start in range(0, len(drafts), _AT_ONCE):
            self._write(*drafts[start : start + _AT_ONCE])
        return len(new)

    def open_in(self, export: LedgerExport) -> tuple[DataSetRun, ...]:
        """The runs that are open both here and in a copy of this ledger, on one reservation: either could go on.

        Args:
            export: verified, and taken over.
        """
        own = {LEDGER.chain_hash(entry.body()) for entry in self._entries if entry.kind is Kind.RESERVE}
        shared = {run_of(item.entry) for item in export.entries if LEDGER.chain_hash(item.entry.body()) in own}
        return tuple(sorted(run for run in open_runs(export) & shared if not self._is_over(run)))

    def _name_here(self, data_set: str, public_key: bytes, as_data_set: str | None) -> str:
        """What a data set of a ledger under ``public_key`` is called in this one."""
        if public_key != self._signer.public_key:
            return as_data_set or _foreign_name(public_key, data_set)
        if as_data_set is None or self._account.patient_list(data_set) is not None:
            return data_set
        return as_data_set

    def _is_over(self, run: DataSetRun) -> bool:
        return self.spending(run.data_set).run(run.run).closed

    def _insert(self, signed: Sequence[tuple[Entry, bytes]]) -> None:
        super()._insert(signed)
        for entry, _ in signed:
            self._account.take(entry)

    def _append(
        self, kind: Kind, data_set: str, run: str, round_number: int, cost: Cost, delta: float, time: str
    ) -> None:
        entry = partial(
            Entry,
            kind=kind,
            data_set=data_set,
            run=run,
            round=round_number,
            cost=cost,
            delta=delta,
            time=time,
            salt=os.urandom(16).hex(),
        )
        self._write(entry)


def _foreign_name(public_key: bytes, data_set: str) -> str:
    """A name that is that of no list of patients."""
    return hashlib.sha256(_FOREIGN + public_key + bytes.fromhex(data_set)).hexdigest()


def _as_of(spent: Entry, data_set: str) -> Entry:
    """What was recorded elsewhere, as spent from this data set here. What it was called first stays known."""
    if data_set == spent.data_set:
        return spent
    return replace(spent, data_set=data_set, origin_data_set=spent.origin_data_set or spent.data_set)


def _holding(before: RunSpending, cost: Cost) -> RunSpending | None:
    """A run that holds ``cost`` in all; None if it holds that much already."""
    wanted = RunSpending(before.run, before.reserved.at_least(cost), before.charged, before.rounds)
    holds = not before.closed and before.reserved == wanted.reserved and before.reserved != NOTHING
    return None if holds else wanted


def _lacking(spending: Spending, wanted: RunSpending, budget: Budget) -> float | None:
    """What a data set would have spent, if that is more than its budget."""
    total = spending.epsilon_with(wanted, budget.delta)
    # Written so that a budget or a cost that is no number refuses.
    return None if total <= budget.epsilon else total


def _exceeded(spending: Spending, wanted: RunSpending, budget: Budget) -> RefusedError:
    spent = spending.epsilon(budget.delta)
    alone = cost_epsilon(wanted.counted, budget.delta)
    total = spending.epsilon_with(wanted, budget.delta)
    return RefusedError(
        "budget-exceeded",
        f"The data set has spent or reserved epsilon {no_less(spent, 3)} of {exact(budget.epsilon)} (delta "
        f"{budget.delta:g}), {no_more(max(0.0, budget.epsilon - spent), 3)} is left. The run would cost "
        f"{no_less(alone, 3)} and bring it to {no_less(total, 3)}.",
        culprit=f"data set {spending.data_set[:16]}",
        remedy=f"{_held(spending, wanted)}Train fewer rounds or with more noise; only this site's policy can raise its "
        "budget.",
    )


def _held(spending: Spending, wanted: RunSpending) -> str:
    """Which other runs hold what an officer could free; nothing where none does."""
    runs = chain(spending.runs, chain.from_iterable(spending.shared))
    others = (run for run in runs if run.run != wanted.run and run.holds and not run.imported)
    names = sorted({run.run[:16] for run in others})
    if not names:
        return ""
    told = ", ".join(names[:_MOST_NAMED]) + (f" or {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else "")
    return f"If a run under charter {told} never ends, free what it holds beyond its charges: `secagg budget release`. "
