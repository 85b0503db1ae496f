"""What the turns of a case come to: the best of its times, and how much they differ.

Knows measurements. The least CPU time of several turns is what the work takes; all else is who else used the machine.
In yardsticks that is taken off already, and the mean counts.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass, field

from benchmarks.sweep.case import Case
from benchmarks.sweep.folder import Run
from benchmarks.sweep.measurement import Cost, Measurement, Party
from training.testbed.meter import Phase


@dataclass(frozen=True)
class Figures:
    """One party's costs in one phase, over all turns.

    Attributes:
        cost: the best times, the mean of those in yardsticks, the largest memory.
        cpu: seconds of each turn that was timed.
    """

    cost: Cost
    cpu: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Result:
    """One case: all that was found."""

    case: Case
    figures: dict[tuple[Phase, Party], Figures]
    error: float | None
    real_hospitals: int
    by: str
    lacks: str
    field_bits: int | None

    def cost(self, phase: Phase, party: Party) -> Cost:
        """That of one phase and party; nothing measured where there was none."""
        found = self.figures.get((phase, party))
        return found.cost if found else Cost(phase=phase, party=party)


def results_of(run: Run) -> list[Result]:
    """One for each case, in the order in which they were measured first."""
    by_case: dict[Case, list[Measurement]] = {}
    for one in run.measurements:
        by_case.setdefault(one.case, []).append(one)
    return [_result(case, measured) for case, measured in by_case.items()]


def _result(case: Case, measured: list[Measurement]) -> Result:
    costs: dict[tuple[Phase, Party], list[Cost]] = {}
    for one in measured:
        for cost in one.costs:
            costs.setdefault((cost.phase, cost.party), []).append(cost)
    errors = [one.error for one in measured if one.error is not None]
    last = measured[-1]
    return Result(
        case=case,
        figures={key: _figures(found) for key, found in costs.items()},
        error=max(errors, default=None),
        real_hospitals=last.real_hospitals,
        by=last.by,
        lacks=last.lacks,
        field_bits=last.field_bits,
    )


def _figures(costs: list[Cost]) -> Figures:
    first = costs[0]
    best = Cost(
        phase=first.phase,
        party=first.party,
        cpu=min(_known(cost.cpu for cost in costs), default=None),
        wall=min(_known(cost.wall for cost in costs), default=None),
        yardsticks=_mean([cost.yardsticks for cost in costs if cost.cpu is not None]),
        memory=max(_known(cost.memory for cost in costs), default=None),
        bytes_up=first.bytes_up,
        bytes_down=first.bytes_down,
        messages_up=first.messages_up,
        messages_down=first.messages_down,
    )
    return Figures(best, _known(cost.cpu for cost in costs))


def _mean(values: list[float | None]) -> float | None:
    """None where a turn has none: of those in which the machine was quick enough, the mean would be another."""
    known = _known(values)
    return statistics.fmean(known) if known and len(known) == len(values) else None


def _known(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None]
