"""What the cells of a study come to: a row for each epsilon and mode, mean and spread over seeds. No layout."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Final, Literal

from benchmarks.utility.study import MODES, Cell, Mode, Scores, Study

Split = Literal["validation", "test"]
SPLITS: Final[tuple[Split, ...]] = ("validation", "test")
_LAST: Final = float("inf")


@dataclass(frozen=True)
class Spread:
    """The mean over trainings, and their standard deviation; None of a single one."""

    mean: float
    deviation: float | None

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Of at least one value."""
        return cls(fmean(values), stdev(values) if len(values) > 1 else None)


@dataclass(frozen=True)
class Measured:
    """One measure on one part of the data; ``measure`` is a field of `Scores`."""

    split: Split
    measure: str
    spread: Spread


@dataclass(frozen=True)
class Row:
    """One epsilon (None: without privacy) and one mode; costs are means over trainings."""

    study: str
    epsilon: float | None
    mode: Mode
    runs: int
    measured: tuple[Measured, ...]
    spent: float | None
    cpu_seconds: float
    sent: float
    received: float


def rows(study: Study, cells: Sequence[Cell]) -> Iterator[Row]:
    """From the strictest epsilon to none, in the order of modes."""
    for epsilon in sorted({cell.epsilon for cell in cells}, key=lambda value: _LAST if value is None else value):
        for mode in MODES:
            found = [cell for cell in cells if (cell.epsilon, cell.mode) == (epsilon, mode)]
            if found:
                yield _row(study, epsilon, mode, found)


def value_of(scores: Scores | None, measure: str) -> float | None:
    """One measure, if there is one."""
    return None if scores is None else getattr(scores, measure)


def _row(study: Study, epsilon: float | None, mode: Mode, cells: Sequence[Cell]) -> Row:
    spent = [cell.cost.spent for cell in cells if cell.cost.spent is not None]
    return Row(
        study.name,
        epsilon,
        mode,
        len(cells),
        tuple(_measured(study, cells)),
        max(spent, default=None),
        fmean(cell.cost.cpu_seconds for cell in cells),
        fmean(cell.cost.sent for cell in cells),
        fmean(cell.cost.received for cell in cells),
    )


def _measured(study: Study, cells: Sequence[Cell]) -> Iterator[Measured]:
    for split in SPLITS:
        for measure in study.measures:
            values = [value_of(cell.validation if split == "validation" else cell.test, measure) for cell in cells]
            known = [value for value in values if value is not None]
            if known:
                yield Measured(split, measure, Spread.of(known))
