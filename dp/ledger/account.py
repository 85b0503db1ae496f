"""All that a ledger's entries come to: the runs on each data set, and which data sets share patients.

Knows entries and lists of patients. A data set without a list may have any patients, and counts with every other. Where
one that was trained on under this site's key lacks its list, nobody knows either whom of the others' patients that list
made one, and all count as one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from dp.ledger.entries import Cost, Entry, Kind
from dp.ledger.patients import Group, PatientList, groups_of, keep_patients, read_lists
from dp.ledger.spending import RunKey, RunSpending, Spending


class Account:
    """What is told by entries, as they come, and by lists of patients."""

    def __init__(self, entries: Iterable[Entry], lists: Mapping[str, PatientList]) -> None:
        self._runs: dict[str, dict[RunKey, RunSpending]] = {}
        self._spent_at: dict[str, float] = {}
        self._noted_at: dict[str, float] = {}
        self._origins: set[str] = set()
        self._charged_on: dict[str, list[str]] = {}
        self._lists = dict(lists)
        self._groups = groups_of(self._lists)
        for entry in entries:
            self.take(entry)

    @classmethod
    def load(cls, entries: Sequence[Entry], folder: Path) -> Account:
        """With all lists of patients in ``folder``: also one that nothing was spent from makes others one patient.

        Raises:
            InputError: ``unreadable``.
            TamperingError: ``patients-altered``.
        """
        return cls(entries, read_lists(folder))

    @classmethod
    def of_groups(cls, entries: Iterable[Entry], groups: Mapping[str, Mapping[Group, int]]) -> Account:
        """With what is known of patients from elsewhere: for each data set, how many of them are in which data sets."""
        account = cls((), {})
        account._groups = groups
        for entry in entries:
            account.take(entry)
        return account

    @property
    def groups(self) -> Mapping[str, Mapping[Group, int]]:
        """For each data set with a list of patients, how many of them are in which data sets."""
        return self._groups

    @property
    def data_sets(self) -> tuple[str, ...]:
        """The data sets that have entries, in the order of their first."""
        return tuple(self._runs)

    def take(self, entry: Entry) -> None:
        """Count one more entry."""
        runs = self._runs.setdefault(entry.data_set, {})
        key = RunKey.of(entry)
        runs[key] = runs.get(key, RunSpending.empty(key)).after(entry)
        deltas = self._spent_at if entry.kind in (Kind.RESERVE, Kind.CHARGE) else self._noted_at
        deltas[entry.data_set] = max(entry.delta, deltas.get(entry.data_set, 0.0))
        if entry.origin is not None:
            self._origins.add(entry.origin)
        elif entry.kind is Kind.CHARGE:
            names = self._charged_on.setdefault(entry.run, [])
            if entry.data_set not in names:
                names.append(entry.data_set)

    def enrol(self, patients: PatientList, folder: Path) -> str:
        """Keep the list of a data set's patients, and give the data set's name.

        Raises:
            InputError: ``unwritable``.
            TamperingError: ``patients-altered``.
        """
        name = patients.data_set
        keep_patients(folder, patients)
        if name not in self._lists:
            self._lists[name] = patients
            self._groups = groups_of(self._lists)
        return name

    def has_imported(self, origin: str) -> bool:
        """Whether an entry of another ledger, by its hash, is in this one."""
        return origin in self._origins

    def patients(self, data_set: str) -> int | None:
        """How many patients a data set has; None where there is no list of them."""
        return sum(self._groups[data_set].values()) if data_set in self._groups else None

    def delta(self, data_set: str) -> float:
        """The largest delta that anything was spent at, of any data set that has patients in common.

        Rounds without differential privacy spend no epsilon at any delta, and a larger one would make that of all
        others smaller. Theirs is given where there is nothing else.
        """
        names = (data_set, *self.overlaps(data_set))
        return max(self._spent_at.get(name, 0.0) for name in names) or max(
            self._noted_at.get(name, 0.0) for name in names
        )

    def overlaps(self, data_set: str) -> Mapping[str, int | None]:
        """The other data sets with spending that have patients in common, and how many; None where nobody knows."""
        shared: Counter[str] = Counter()
        for group, count in self._known_groups(data_set).items():
            shared.update(dict.fromkeys(group - {data_set}, count))
        others = (name for name in self._runs if name != data_set)
        if data_set not in self._groups or self._lacks_a_list:
            return dict.fromkeys(others)
        return {name: shared[name] or None for name in others if name in shared or name not in self._groups}

    def rounds(self, run: str) -> int:
        """How many rounds of a run were charged here, to whatever data sets."""
        return self._rounds(run, self._runs)

    def rounds_on(self, data_set: str, run: str) -> int:
        """How many of them were charged to a data set or to others that share patients with it."""
        return self._rounds(run, (data_set, *self.overlaps(data_set)))

    def newest_round(self, run: str) -> int:
        """The highest number of a round of a run that was charged here, to whatever data set; 0 if none was."""
        return max((runs[RunKey(run)].newest for runs in self._runs.values() if RunKey(run) in runs), default=0)

    def charged(self, run: str) -> frozenset[tuple[Cost, ...]]:
        """For each group of patients, what a run was charged here on each of the data sets that they are in."""
        return frozenset(costs for name in self._runs for costs in self.spending(name).charged(run))

    def first_charged(self, run: str) -> str | None:
        """The data set that a run was charged on first, here and with differential privacy; None before it was."""
        return next(iter(self._charged_on.get(run, ())), None)

    def patient_list(self, data_set: str) -> PatientList | None:
        """The patients of a data set; None where there is no list of them."""
        return self._lists.get(data_set)

    def keeps_its_patients(self, run: str) -> bool:
        """Whether a run was charged for nobody who is not, with the same digests, in the data set it began with.

        Not where a list is missing that would show it.
        """
        names = self._charged_on.get(run, [])
        if len(names) < 2:
            return True
        lists = [frozenset(self._lists[name].patients) for name in names if name in self._lists]
        return len(lists) == len(names) and all(patients <= lists[0] for patients in lists)

    def spending(self, data_set: str) -> Spending:
        """What a data set's patients have spent."""
        own = tuple(self._runs.get(data_set, {}).values())
        shared = dict.fromkeys(tuple(self._runs_on(group - {data_set})) for group in self._largest_groups(data_set))
        return Spending(data_set, own, tuple(shared))

    def _rounds(self, run: str, data_sets: Iterable[str]) -> int:
        found = (self._runs.get(name, {}).get(RunKey(run)) for name in data_sets)
        return sum(spent.rounds for spent in found if spent is not None)

    @property
    def _lacks_a_list(self) -> bool:
        """Whether a data set that was trained on under this key, here or at a copy of this ledger, has no list here.

        It may have shown that entries of other data sets are one patient. Of another key's data sets none can.
        """
        return any(
            name not in self._groups and any(key.origin_data_set is None for key in runs)
            for name, runs in self._runs.items()
        )

    def _known_groups(self, data_set: str) -> Mapping[Group, int]:
        return self._groups.get(data_set, {})

    def _largest_groups(self, data_set: str) -> list[Group]:
        """Those that are part of no larger one, which costs more; each with the data sets that may have any patient."""
        if data_set not in self._groups or self._lacks_a_list:
            return [frozenset(self._runs)]
        anybody = frozenset(name for name in self._runs if name not in self._groups)
        groups = {group | anybody for group in self._known_groups(data_set)} or {anybody}
        return [group for group in groups if not any(group < other for other in groups)]

    def _runs_on(self, data_sets: Group) -> list[RunSpending]:
        return [run for name in sorted(data_sets) for run in self._runs.get(name, {}).values()]


def patients_folder(ledger: Path) -> Path:
    """Where the lists of patients are that a ledger names."""
    return ledger.with_name("patients")
