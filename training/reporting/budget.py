"""How much of a budget is spent and what is left, by data set and charter and over time.

Knows a site's ledger as it is shown. Every number is the ledger's own rule applied to the shown entries.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from dp.ledger import Account, BudgetUse, Cost, Entry, Kind, RunSpending, Spending
from dp.ledger.spending import RunKey, cost_epsilon
from training.reporting.evidence import SiteEvidence, account_of

# Of a long history so many points are computed: each takes milliseconds.
_MOST_POINTS: Final = 48
# From here on no figure means anything, and sums of such would leave floating point.
_LIMITLESS: Final = 1e100
_OfRuns = dict[tuple[str, RunKey], list[Entry]]
"""A ledger's entries by data set and run, in order."""


class RunFacts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One run on a data set.

    Attributes:
        rounds: that were charged, those without a sum among them.
        state: as in `RunSpending`.
        epsilon: of what it counts with; None where it has no differential privacy.
        first, last: when it was first and last entered, as the site's clock had it.
        imported: it is in another ledger of this site.
    """

    charter: str
    rounds: int
    state: Literal["open", "closed", "released"]
    epsilon: float | None
    first: str
    last: str
    imported: bool


class BudgetPoint(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a data set's patients had spent once so many of its rounds were charged."""

    rounds: int
    charter: str
    time: str
    epsilon: float


class AnotherRun(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One more run of the same length and noise.

    Attributes:
        alone: its epsilon by itself, at its charter's delta.
        total: what all together would come to, at the same.
        allowed: whether the budget has room for it; None where the budget is not shown.
    """

    alone: float
    total: float
    allowed: bool | None


class Overlap(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Another data set with patients in common; ``patients`` is None where it is not shown or known how many."""

    data_set: str
    patients: int | None


class DataSetFacts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the patients of one data set have spent, by the entries that are shown.

    Attributes:
        patients: None where it is not shown.
        spent: or reserved, by a run that has not ended; of the patient who has spent most.
        limit, left, share: of the site's budget; None where it is not shown.
        alert: 0.5, 0.8 or 1: the highest share of the budget that is reached, to the nearest per cent; None below.
        course: over time, by rounds.
        another: one more run of the charter that the report is about; None where it had no differential privacy.
    """

    data_set: str
    patients: int | None
    delta: float
    spent: float
    limit: float | None
    left: float | None
    share: float | None
    alert: float | None
    runs: tuple[RunFacts, ...]
    overlaps: tuple[Overlap, ...]
    course: tuple[BudgetPoint, ...]
    another: AnotherRun | None


def data_sets_of(evidence: SiteEvidence) -> tuple[DataSetFacts, ...]:
    """Every data set that is shown, but for those `without_limit`, in the order of its first entry."""
    if evidence.ledger is None:
        return ()
    account, entries, limitless = account_of(evidence), evidence.ledger.entries, without_limit(evidence)
    of_runs: _OfRuns = {}
    for entry in entries:
        of_runs.setdefault((entry.data_set, RunKey.of(entry)), []).append(entry)
    names = (name for name in account.data_sets if name not in limitless)
    return tuple(_data_set(name, account, entries, of_runs, evidence) for name in names)


def without_limit(evidence: SiteEvidence) -> tuple[str, ...]:
    """The data sets of which more was spent or reserved, by what is shown, than any epsilon covers.

    No honest ledger has one. What an ended run had reserved counts too: one more of the same is told of.
    """
    account = account_of(evidence)
    return tuple(name for name in account.data_sets if not _has_limit(name, account))


def _has_limit(name: str, account: Account) -> bool:
    delta, runs = account.delta(name), account.spending(name).runs
    alone = (cost_epsilon(run.reserved.at_least(run.charged), delta) for run in runs)
    return all(epsilon < _LIMITLESS for epsilon in (_spent(name, account), *alone))


def _spent(name: str, account: Account) -> float:
    return account.spending(name).epsilon(account.delta(name))


def _data_set(
    name: str, account: Account, entries: Sequence[Entry], of_runs: _OfRuns, evidence: SiteEvidence
) -> DataSetFacts:
    spending, delta, limit = account.spending(name), account.delta(name), evidence.limit
    spent = _spent(name, account)
    share = spent / limit if limit else None
    whole = evidence.scope == "site"
    return DataSetFacts(
        data_set=name,
        patients=account.patients(name) if whole else None,
        delta=delta,
        spent=spent,
        limit=limit,
        left=None if limit is None else max(0.0, limit - spent),
        share=share,
        alert=_alert(spent, limit),
        runs=tuple(_run(run, delta, of_runs[name, run.key]) for run in spending.runs),
        overlaps=tuple(
            Overlap(other, patients if whole else None) for other, patients in account.overlaps(name).items()
        ),
        course=_course(name, account, entries, delta),
        another=_another(
            spending, evidence.charter, _asked_at(of_runs.get((name, RunKey(evidence.charter)), ()), delta), limit
        ),
    )


def _alert(spent: float, limit: float | None) -> float | None:
    return BudgetUse(spent, limit).alert / 100 or None if limit else None


def _run(run: RunSpending, delta: float, entries: Sequence[Entry]) -> RunFacts:
    first, last = entries[0].time, entries[-1].time
    return RunFacts(run.run, run.rounds, run.state, run.epsilon(delta), first, last, run.imported)


def _asked_at(entries: Sequence[Entry], delta: float) -> float:
    """The delta at which the ledger would refuse one more run: that of its charter, which may be below ``delta``."""
    return max((entry.delta for entry in entries if entry.kind is Kind.RESERVE), default=delta)


def _another(spending: Spending, charter: str, delta: float, limit: float | None) -> AnotherRun | None:
    known = spending.run(charter)
    cost = known.reserved.at_least(known.charged)
    if known.unprotected or cost == Cost():
        return None
    total = spending.epsilon_with(RunSpending("another", reserved=cost), delta)
    return AnotherRun(cost_epsilon(cost, delta), total, None if limit is None else total <= limit)


def _course(name: str, account: Account, entries: Sequence[Entry], delta: float) -> tuple[BudgetPoint, ...]:
    """By what was charged: what is only reserved has not been used yet. Some of many points, with the last."""
    related = {name, *account.overlaps(name)}
    charges = [entry for entry in entries if entry.data_set in related and entry.kind is Kind.CHARGE]
    step = max(1, -(-len(charges) // _MOST_POINTS))
    points = []
    so_far = Account.of_groups((), account.groups)
    for number, entry in enumerate(charges, start=1):
        so_far.take(entry)
        if number % step == 0 or number in (1, len(charges)):
            spent = so_far.spending(name).epsilon(delta)
            points.append(BudgetPoint(number, entry.run, entry.time, spent))
    return tuple(points)
