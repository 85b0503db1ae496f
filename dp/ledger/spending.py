"""From entries to what a data set's patients have spent: never less than was released.

Knows the rule. A run that is not closed counts with its reservation or its charges, whichever is more: a crash leaves
the reservation spent. A closed run counts with its charges. A patient has spent what all runs on all data sets that
it is in cost together, and a data set what that patient of it has spent who has spent most.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import reduce
from typing import Literal, NamedTuple, Self

import msgspec

from dp.accounting import costs_no_less, epsilon_of_runs
from dp.ledger.entries import NOTHING, Cost, Entry, Kind


class RunKey(NamedTuple):
    """What tells runs on one data set apart: of two that differ in any of it, each counts in full.

    Attributes:
        run: the charter's hash.
        imported: it is in another ledger of this site.
        origin_data_set: what the data set was called there, where an officer said which one here it was.
    """

    run: str
    imported: bool = False
    origin_data_set: str | None = None

    @classmethod
    def of(cls, entry: Entry) -> Self:
        """The run that an entry is about."""
        called = entry.origin_data_set
        return cls(entry.run, entry.origin is not None, None if called is msgspec.UNSET else called)


@dataclass(frozen=True)
class RunSpending:
    """One run on one data set.

    Attributes:
        newest: the highest number of a round that was charged; 0 if none was.
        unprotected: it has no differential privacy, and no epsilon covers it.
        released: it was given up by an officer, and has to reserve again before it charges.
        imported, origin_data_set: as in `RunKey`.
    """

    run: str
    reserved: Cost = NOTHING
    charged: Cost = NOTHING
    rounds: int = 0
    newest: int = 0
    closed: bool = False
    unprotected: bool = False
    released: bool = False
    imported: bool = False
    origin_data_set: str | None = None

    @classmethod
    def empty(cls, key: RunKey) -> Self:
        """Before its first entry."""
        return cls(key.run, imported=key.imported, origin_data_set=key.origin_data_set)

    @property
    def key(self) -> RunKey:
        """What tells it apart from others on its data set."""
        return RunKey(self.run, self.imported, self.origin_data_set)

    @property
    def counted(self) -> Cost:
        """The cost that the run counts with: its charges, and while it is open what it has reserved beyond them."""
        return self.charged if self.closed else self.reserved.at_least(self.charged)

    def epsilon(self, delta: float) -> float | None:
        """Of what the run counts with, by itself; None where it has no differential privacy."""
        return None if self.unprotected else cost_epsilon(self.counted, delta)

    @property
    def holds(self) -> bool:
        """Whether it counts with more than it has charged: with a reservation."""
        return self.counted != self.charged

    @property
    def state(self) -> Literal["open", "closed", "released"]:
        """``open``: what it reserved counts; ``closed``: its charges; ``released``: likewise, given up by an officer.

        Of another ledger's run it is not recorded here that it is over: it holds a reservation, or it does not.
        """
        if self.released:
            return "released"
        is_over = not self.holds if self.imported else self.closed
        return "closed" if is_over else "open"

    def after(self, entry: Entry) -> RunSpending:
        """After one more entry."""
        match entry.kind:
            case Kind.RESERVE:
                reserved = self.reserved.at_least(entry.cost)
                return replace(self, reserved=reserved, closed=False, released=False)
            case Kind.CHARGE:
                return replace(self._with_round(entry.round), charged=self.charged.plus(entry.cost))
            case Kind.CLOSE:
                return replace(self, closed=True)
            case Kind.RELEASE:
                return replace(self, closed=True, released=True)
            case Kind.UNPROTECTED:
                return replace(self._with_round(entry.round), unprotected=True, closed=False, released=False)
            case Kind.COMMIT:
                return self

    def _with_round(self, number: int) -> RunSpending:
        """After one more round, whatever it cost."""
        return replace(self, rounds=self.rounds + 1, newest=max(self.newest, number))


@dataclass(frozen=True)
class Spending:
    """All runs on one data set, and those on others that share patients with it.

    Attributes:
        shared: for each group of its patients, the runs on other data sets that these are in; one empty group where
            none is in another.
    """

    data_set: str
    runs: tuple[RunSpending, ...] = ()
    shared: tuple[tuple[RunSpending, ...], ...] = ((),)

    @property
    def unprotected(self) -> bool:
        """Whether any of its patients was also trained on without differential privacy, which no epsilon covers."""
        return any(run.unprotected for runs in (self.runs, *self.shared) for run in runs)

    def run(self, name: str) -> RunSpending:
        """One run of this ledger; an empty one if it is not in it."""
        return next((run for run in self.runs if run.key == RunKey(name)), RunSpending(name))

    def charged(self, name: str) -> tuple[tuple[Cost, ...], ...]:
        """For each group of the patients, what one run of this ledger has charged the data sets that they are in."""
        own, key = self.run(name), RunKey(name)
        groups = ((own, *(run for run in runs if run.key == key)) for runs in self.shared)
        return tuple(tuple(run.charged for run in group if run.charged != NOTHING) for group in groups)

    def epsilon(self, delta: float) -> float:
        """The most that any patient of the data set has spent at ``delta``, all runs composed."""
        return self._most(self.runs, delta)

    def epsilon_with(self, run: RunSpending, delta: float) -> float:
        """The same with ``run`` in place of what is recorded of that run."""
        others = [other for other in self.runs if other.key != run.key]
        return self._most((*others, run), delta)

    def epsilon_at_least(self, name: str, cost: Cost, delta: float) -> float:
        """As `epsilon`, with one run of this ledger costing each patient ``cost``, or what it counts with if more.

        Args:
            name: of the run; on whatever data sets it was, ``cost`` is of all of it.
        """
        key = RunKey(name)
        found = []
        for shared in self.shared:
            runs = (*self.runs, *shared)
            counted = [run.counted for run in runs if run.key == key and run.counted != NOTHING]
            # Of two data sets nobody knows here who was in training in one of them and held back in the other.
            apart = [*counted, cost.beyond(in_all(counted))] if len(counted) > 1 else [cost.at_least(in_all(counted))]
            others = [run for run in runs if run.key != key]
            found.append(_epsilon((*others, *(RunSpending(name, reserved=one) for one in apart)), delta))
        return max(found)

    def _most(self, runs: Iterable[RunSpending], delta: float) -> float:
        own = tuple(runs)
        return max(_epsilon((*own, *others), delta) for others in self.shared)


def in_all(costs: Iterable[Cost]) -> Cost:
    """What a run cost on all of its data sets, if nobody was in training in one of them and held back in another."""
    return reduce(Cost.plus, costs, NOTHING)


def covers(cost: Cost, due: Cost) -> bool:
    """Whether ``cost`` is no less than ``due``, in training and in validation, whatever else a patient meets."""
    return cost == due or (costs_no_less(cost.training, due.training) and costs_no_less(cost.metrics, due.metrics))


def cost_epsilon(cost: Cost, delta: float) -> float:
    """Epsilon of one run towards any patient who was in training all the time, or in validation all the time."""
    return costs_epsilon([cost], delta)


def costs_epsilon(costs: Iterable[Cost], delta: float) -> float:
    """Epsilon of what one run cost on several data sets, to whoever was in training in some and held back in others."""
    return epsilon_of_runs([(cost.training, cost.metrics) for cost in costs], delta)


def _epsilon(runs: Iterable[RunSpending], delta: float) -> float:
    return epsilon_of_runs([(run.counted.training, run.counted.metrics) for run in runs], delta)
