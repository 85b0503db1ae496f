"""From entries to what a data set has spent: never less than was released.

Knows the rule. A run that is not closed counts with its reservation or its charges, whichever is more: a crash leaves
the reservation spent. A closed run counts with its charges.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from dp.accounting import epsilon_of_runs
from dp.ledger.entries import NOTHING, Cost, Entry, Kind


@dataclass(frozen=True)
class RunSpending:
    """One run on one data set. ``unprotected``: it has no differential privacy, and no epsilon covers it."""

    run: str
    reserved: Cost = NOTHING
    charged: Cost = NOTHING
    rounds: int = 0
    closed: bool = False
    unprotected: bool = False

    @property
    def counted(self) -> Cost:
        """What the run counts with."""
        return self.charged if self.closed else self.reserved.at_least(self.charged)


@dataclass(frozen=True)
class Spending:
    """All runs on one data set."""

    data_set: str
    runs: tuple[RunSpending, ...] = ()

    def run(self, name: str) -> RunSpending:
        """One run; an empty one if it is not in the ledger."""
        return next((run for run in self.runs if run.run == name), RunSpending(name))

    def epsilon(self, delta: float) -> float:
        """What any patient of the data set has spent at ``delta``, all runs composed."""
        return _epsilon(self.runs, delta)

    def epsilon_with(self, run: RunSpending, delta: float) -> float:
        """The same, if ``run`` stood as given."""
        others = [entry for entry in self.runs if entry.run != run.run]
        return _epsilon((*others, run), delta)


def cost_epsilon(cost: Cost, delta: float) -> float:
    """Epsilon of one run towards any patient: in a run, training and validation share no patients."""
    return epsilon_of_runs([(cost.training, cost.metrics)], delta)


def _epsilon(runs: Iterable[RunSpending], delta: float) -> float:
    return epsilon_of_runs([(run.counted.training, run.counted.metrics) for run in runs], delta)


def spending_of(entries: Iterable[Entry], data_set: str) -> Spending:
    """What the entries say about one data set."""
    runs: dict[str, RunSpending] = {}
    for entry in entries:
        if entry.data_set == data_set:
            runs[entry.run] = _after(runs.get(entry.run, RunSpending(entry.run)), entry)
    return Spending(data_set, tuple(runs.values()))


def _after(run: RunSpending, entry: Entry) -> RunSpending:
    match entry.kind:
        case Kind.RESERVE:
            return replace(run, reserved=run.reserved.at_least(entry.cost), closed=False)
        case Kind.CHARGE:
            return replace(run, charged=run.charged.plus(entry.cost), rounds=run.rounds + 1)
        case Kind.CLOSE:
            return replace(run, closed=True)
        case Kind.UNPROTECTED:
            return replace(run, rounds=run.rounds + 1, unprotected=True, closed=False)
        case Kind.COMMIT:
            return run
