"""A measure against epsilon: a line for each mode, a dot for each training, and what is reached without privacy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import fmean
from typing import Final

from benchmarks.utility.rows import value_of
from benchmarks.utility.study import MODES, Cell, Mode, Study
from cli.chart import Limit, Line, Panel, svg

_COLOURS: Final[dict[Mode, str]] = {
    "pooled": "#6b7785",
    "distributed": "#1a4e8a",
    "local": "#b4530a",
    "federated": "#3f7d4f",
    "alone": "#8a1a4e",
}
_LABELS: Final[dict[str, str]] = {"accuracy": "Test accuracy, %", "auc": "Test AUC", "c_index": "Test c-index"}


def plot(study: Study, cells: Sequence[Cell]) -> str | None:
    """SVG, a panel for each measure; None where nothing was trained with privacy."""
    panels = [
        Panel(study.title, "epsilon", _LABELS[measure], lines, tuple(_limits(cells, measure)), from_zero=False)
        for measure in study.measures
        if (lines := list(_lines(cells, measure)))
    ]
    return svg(panels) if panels else None


def _lines(cells: Sequence[Cell], measure: str) -> Iterator[Line]:
    for mode in MODES:
        dots = [(cell.epsilon, _value(cell, measure)) for cell in cells if cell.mode == mode and cell.epsilon]
        means = [
            (epsilon, fmean(value for place, value in dots if place == epsilon))
            for epsilon in sorted({place for place, _ in dots})
        ]
        if means:
            yield Line("one curator" if mode == "pooled" else mode, means, _COLOURS[mode], dots=dots)


def _limits(cells: Sequence[Cell], measure: str) -> Iterator[Limit]:
    for mode in MODES:
        found = [_value(cell, measure) for cell in cells if cell.mode == mode and cell.epsilon is None]
        if found:
            yield Limit(f"{mode}, no privacy", fmean(found), _COLOURS[mode])


def _value(cell: Cell, measure: str) -> float:
    value = value_of(cell.test, measure)
    assert value is not None  # A study's measures are what its model is measured by.
    return 100 * value if measure == "accuracy" else value
