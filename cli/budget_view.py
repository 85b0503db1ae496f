"""How a ledger's account is shown: data sets, their runs and the patients that they share."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec
from rich.table import Table

from dp.ledger import Account, BudgetUse, RunSpending
from dp.stated import exact, no_less, no_more

UNPROTECTED: Final = "Some of its patients were also trained on without differential privacy: no epsilon covers that."


class RunJson(msgspec.Struct, frozen=True):
    """One run on a data set; ``epsilon`` is null where it had no differential privacy.

    Attributes:
        state: as in `RunSpending`.
        imported: it is in another ledger of this site.
    """

    charter: str
    rounds: int
    state: str
    epsilon: float | None
    imported: bool


class OverlapJson(msgspec.Struct, frozen=True):
    """Another data set with patients in common; ``patients`` is null where nobody knows how many: all are counted."""

    data_set: str
    patients: int | None


class DataSetJson(msgspec.Struct, frozen=True):
    """What the patients of one data set have spent or reserved.

    Attributes:
        patients: null where there is no list of them: they count as those of every data set.
        epsilon: of the patient who has spent most, with the runs on other data sets that share patients; null in JSON
            where no finite one covers what the ledger says.
        alert: the highest of 50, 80 and 100 per cent of the budget that is reached; 0 below.
        runs: those on this data set itself.
        unprotected: some of its patients were also trained on without differential privacy, on it or on another data
            set: no epsilon covers that.
    """

    data_set: str
    patients: int | None
    epsilon: float
    delta: float
    budget: float
    left: float
    alert: int
    runs: list[RunJson]
    overlaps: list[OverlapJson]
    unprotected: bool


def describe(name: str, account: Account, limit: float) -> DataSetJson:
    """One data set, of which a patient may spend ``limit``."""
    delta = account.delta(name)
    spending = account.spending(name)
    use = BudgetUse(spending.epsilon(delta), limit)
    return DataSetJson(
        name,
        account.patients(name),
        use.epsilon,
        delta,
        limit,
        use.left,
        use.alert,
        [_run(run, delta) for run in spending.runs],
        [OverlapJson(other, patients) for other, patients in account.overlaps(name).items()],
        spending.unprotected,
    )


def _run(run: RunSpending, delta: float) -> RunJson:
    return RunJson(run.run, run.rounds, run.state, run.epsilon(delta), run.imported)


def table_of(data_set: DataSetJson) -> Table:
    """Its runs."""
    title = (
        f"Data set {data_set.data_set[:16]}: epsilon {no_less(data_set.epsilon, 3)} of {exact(data_set.budget)} "
        f"spent or reserved (delta {data_set.delta:g}), {no_more(data_set.left, 3)} left"
    )
    table = Table("charter", "rounds", "state", "epsilon", title=title, title_justify="left")
    for run in data_set.runs:
        spent = "no protection: not covered by any epsilon" if run.epsilon is None else no_less(run.epsilon, 3)
        table.add_row(run.charter[:16], str(run.rounds), f"{run.state}{', in another ledger' * run.imported}", spent)
    return table


def alert_line(data_set: DataSetJson) -> str | None:
    """The warning that a data set deserves, if it does."""
    told = BudgetUse(data_set.epsilon, data_set.budget).told()
    return f"Alert, {data_set.alert} %: {told}." if data_set.alert else None


def shared_lines(data_set: DataSetJson) -> Iterable[str]:
    """What else its patients are in, a sentence each."""
    if data_set.patients is None:
        yield "It is not known which patients these are: they count towards every data set."
    for other in data_set.overlaps:
        known = f"{other.patients} of {data_set.patients}" if other.patients and data_set.patients else "any number of"
        yield f"Shares {known} patients with data set {other.data_set[:16]}."
    if data_set.unprotected:
        yield UNPROTECTED
