"""Two runs beside each other: by how much the figures of each case differ.

Knows ratios, and how far two runs of the same code may be apart. Knows nothing of what to do about it. Compared is what
each run measured in yardsticks of its own moments: seconds are those of a busy machine in one, and of an idle one in
the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal

import msgspec

from benchmarks.sweep.case import BASELINES, Case
from benchmarks.sweep.folder import Run
from benchmarks.sweep.results import Result, results_of
from secagg.errors import InputError

TOLERANCE: Final = 0.15
# Below it a clock's own steps and a cold cache count for too much.
LEAST_SECONDS: Final = 1e-3
_SAME_BYTES: Final = 0.01

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


class Comparison(msgspec.Struct, frozen=True):
    """All that both runs have.

    Attributes:
        environment: what the second run's machine and versions have otherwise, those of baselines among them.
        bytes_changed: cases that do not send as much as before.
        turns_changed: cases that were not timed as often as before: of seconds, the best of more turns is shorter.
        only_first, only_second: cases that one run alone has timed.
    """

    ratios: list[Ratio]
    environment: list[str]
    bytes_changed: list[str]
    turns_changed: list[str]
    only_first: list[str]
    only_second: list[str]

    @property
    def exceeding(self) -> list[Ratio]:
        """Those that are not within."""
        return [one for one in self.ratios if not one.within]


def compare(first: Run, second: Run) -> Comparison:
    """The second run against the first.

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
        environment=[
            *first.environment.differences(second.environment),
            *dict.fromkeys(told for case in common for told in _by_others(before[case], after[case])),
        ],
        bytes_changed=[case.name for case in common if _sends_otherwise(before[case], after[case])],
        turns_changed=[case.name for case in common if _turns(before[case]) != _turns(after[case])],
        only_first=[case.name for case in before if case not in after],
        only_second=[case.name for case in after if case not in before],
    )


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
        within = 1 / (1 + TOLERANCE) <= ratio <= 1 + TOLERANCE
        yield Ratio(before.case.name, *key, old, new, ratio, unit, within)


def _sends_otherwise(before: Result, after: Result) -> bool:
    for key, figures in before.figures.items():
        old, new = figures.cost, after.cost(*key)
        for one, other in ((old.bytes_up, new.bytes_up), (old.bytes_down, new.bytes_down)):
            # Drawn neighbours are others in each run, and their numbers take one byte or two.
            if one is not None and other is not None and abs(other - one) > _SAME_BYTES * one:
                return True
    return False
