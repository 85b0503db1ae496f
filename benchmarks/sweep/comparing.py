"""Two runs beside each other: by how much the figures of each case differ.

Knows ratios, and how far two runs of the same code may be apart. Knows nothing of what to do about it. Of cases, what
each run measured is compared in yardsticks of its own moments: seconds are those of a busy machine in one, and of an
idle one in the other.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, Literal

import msgspec

from benchmarks.sweep.case import BASELINES, Case
from benchmarks.sweep.folder import Run
from benchmarks.sweep.results import Result, results_of
from benchmarks.sweep.targets import SHARE, Figure
from secagg.errors import InputError

TOLERANCE: Final = 0.15
# Below it a clock's own steps and a cold cache count for too much.
LEAST_SECONDS: Final = 1e-3
_SAME_BYTES: Final = 0.01
_UNITS_OF_RATIOS: Final = frozenset({"", "%", SHARE})
# Of what a figure may be: how much of it there is, if as little, depends on chance.
_NEXT_TO_NOTHING: Final = 0.1

Unit = Literal["yardsticks", "seconds"]


class Ratio(msgspec.Struct, frozen=True):
    """What one case, phase and party took in both runs.

    Attributes:
        first, second: CPU seconds.
        ratio: the second over the first, in ``unit``: in seconds where either run has no yardsticks.
        within: whether they are no further apart than `TOLERANCE`, either way.
    """

    case: str
    phase: str
    party: str
    first: float
    second: float
    ratio: float
    unit: Unit
    within: bool


class FigureRatio(msgspec.Struct, frozen=True):
    """A ratio or a share with a target that both runs found, of single operations.

    Attributes:
        ratio: the second over the first.
        within: as `Ratio.within`.
    """

    what: str
    first: float
    second: float
    ratio: float
    within: bool


class Comparison(msgspec.Struct, frozen=True):
    """All that both runs have.

    Attributes:
        figures: of single operations.
        environment: what the second run's machine and versions have otherwise, those of baselines among them.
        bytes_changed: cases that do not send as much as before.
        turns_changed: cases that were not timed as often as before: of seconds, the best of more turns is shorter.
        only_first, only_second: cases that one run alone has timed.
    """

    ratios: list[Ratio]
    figures: list[FigureRatio]
    environment: list[str]
    bytes_changed: list[str]
    turns_changed: list[str]
    only_first: list[str]
    only_second: list[str]

    @property
    def exceeding(self) -> list[Ratio]:
        """Those of cases that are not within."""
        return [one for one in self.ratios if not one.within]

    @property
    def figures_exceeding(self) -> list[FigureRatio]:
        """Those of single operations that are not within."""
        return [one for one in self.figures if not one.within]


def compare(first: Run, second: Run, figures: Iterable[FigureRatio] = ()) -> Comparison:
    """The second run against the first.

    Args:
        figures: `compare_figures` of what lies beside the runs.

    Raises:
        InputError: ``nothing-in-common``.
    """
    before, after = _timed(first), _timed(second)
    common = [case for case in before if case in after]
    if not common:
        raise InputError(
            "nothing-in-common",
            "The two runs have timed no case in common.",
            remedy="Run the same cases to their end: `secagg bench run` with the same options.",
        )
    return Comparison(
        ratios=[ratio for case in common for ratio in _ratios(before[case], after[case])],
        figures=[*figures],
        environment=[
            *first.environment.differences(second.environment),
            *dict.fromkeys(told for case in common for told in _by_others(before[case], after[case])),
        ],
        bytes_changed=[case.name for case in common if _sends_otherwise(before[case], after[case])],
        turns_changed=[case.name for case in common if _turns(before[case]) != _turns(after[case])],
        only_first=[case.name for case in before if case not in after],
        only_second=[case.name for case in after if case not in before],
    )


def compare_figures(first: Sequence[Figure], second: Sequence[Figure]) -> list[FigureRatio]:
    """Of ratios and shares that have a target, in the order of the first; what is next to nothing is left out."""
    again = {figure.what: figure for figure in second}
    common = [(one, again[one.what]) for one in first if one.what in again]
    return [_figure_ratio(one, other) for one, other in common if _is_compared(one, other)]


def _figure_ratio(one: Figure, other: Figure) -> FigureRatio:
    ratio = other.value / one.value if one.value > 0 else math.inf
    return FigureRatio(one.what, one.value, other.value, ratio, _agree(ratio))


def _is_compared(one: Figure, other: Figure) -> bool:
    if one.unit not in _UNITS_OF_RATIOS or not one.target:
        return False
    return one.at_most is None or max(one.value, other.value) > _NEXT_TO_NOTHING * one.at_most


def _agree(ratio: float) -> bool:
    return 1 / (1 + TOLERANCE) <= ratio <= 1 + TOLERANCE


def _timed(run: Run) -> dict[Case, Result]:
    """A run that was stopped may know no more of a case than its memory."""
    results = results_of(run)
    return {
        result.case: result
        for result in results
        if any(figures.cost.cpu is not None for figures in result.figures.values())
    }


def _by_others(before: Result, after: Result) -> Iterator[str]:
    """A baseline's code is not in the environment: it may be in one of its own."""
    if before.case.scheme in BASELINES and before.by != after.by:
        yield f"{before.case.scheme} was {before.by} and is {after.by}"


def _turns(result: Result) -> int:
    return max(len(figures.cpu) for figures in result.figures.values())


def _ratios(before: Result, after: Result) -> Iterator[Ratio]:
    for key, figures in before.figures.items():
        old = figures.cost.cpu
        new = after.cost(*key).cpu
        if old is None or new is None or max(old, new) < LEAST_SECONDS:
            continue
        counted, again = figures.cost.yardsticks, after.cost(*key).yardsticks
        ratio = again / counted if counted and again else new / old
        unit: Unit = "yardsticks" if counted and again else "seconds"
        yield Ratio(before.case.name, *key, old, new, ratio, unit, _agree(ratio))


def _sends_otherwise(before: Result, after: Result) -> bool:
    for key, figures in before.figures.items():
        old, new = figures.cost, after.cost(*key)
        for one, other in ((old.bytes_up, new.bytes_up), (old.bytes_down, new.bytes_down)):
            # Drawn neighbours are others in each run, and their numbers take one byte or two.
            if one is not None and other is not None and abs(other - one) > _SAME_BYTES * one:
                return True
    return False
