"""The ledger: a signed log of what is spent, and when a budget refuses an entry.

Knows which entries are written and when. How they are stored, chained, signed and checked is `secagg.signed_log`'s
business: when a method that writes returns, the entry survives a power cut.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import msgspec

from dp.ledger.entries import LEDGER, NOTHING, Cost, Entry, Kind
from dp.ledger.spending import RunSpending, Spending, cost_epsilon, spending_of
from secagg.errors import RefusedError
from secagg.signed_log import SignedLog, Signer, read_log


class Budget(msgspec.Struct, frozen=True):
    """The most that a data set may ever spend: epsilon at delta."""

    epsilon: float
    delta: float


class Ledger(SignedLog[Entry]):
    """The ledger of one site.

    Raises:
        InputError: ``state-in-use``, ``unwritable``.
        TamperingError: ``ledger-damaged``, ``ledger-altered``, naming the first entry that does not fit.
    """

    def __init__(self, path: Path, signer: Signer) -> None:
        super().__init__(path, signer, LEDGER)

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
        entry = partial(
            Entry, kind=kind, data_set=data_set, run=run, round=round_number, cost=cost, delta=delta, time=time
        )
        self._write(entry)


def read_ledger(path: Path, public_key: bytes) -> tuple[Entry, ...]:
    """Verify a ledger and give its entries, without taking its lock: for showing and auditing.

    Raises:
        InputError: ``unreadable``.
        TamperingError: ``ledger-damaged``, ``ledger-altered``, naming the first entry that does not fit.
    """
    return read_log(path, public_key, LEDGER)


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
