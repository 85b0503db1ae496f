"""Rows as tables: Markdown, LaTeX and CSV. Knows layout and words, and computes nothing."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Final

from benchmarks.sweep.markup import escaped
from benchmarks.utility.rows import Measured, Row, Spread
from benchmarks.utility.study import Published, Study

_MEASURES: Final = {"accuracy": "accuracy", "auc": "AUC", "c_index": "c-index"}
_MODES: Final = {
    "pooled": "one trusted curator",
    "distributed": "`distributed`",
    "local": "`local`",
    "federated": "federated",
    "alone": "each hospital alone",
}
_OPEN: Final = {**_MODES, "pooled": "all records in one place"}


def columns(row: Row) -> tuple[str, ...]:
    """The names of a table's columns, from one of its rows."""
    measured = (_heading(found) for found in row.measured)
    return ("epsilon", "trained", "runs", *measured, "spent", "CPU s", "sent", "received")


def cells_of(row: Row) -> tuple[str, ...]:
    """One row as text."""
    measured = (_spread(found.spread, found.measure) for found in row.measured)
    names = _OPEN if row.epsilon is None else _MODES
    spent = "" if row.spent is None else f"{row.spent:.2f}"
    moved = (_size(row.sent), _size(row.received))
    return _epsilon(row.epsilon), names[row.mode], str(row.runs), *measured, spent, f"{row.cpu_seconds:.1f}", *moved


def published_cells(row: Row, figures: Sequence[Published]) -> tuple[str, ...]:
    """Figures of one source and epsilon, in the columns of ``row``."""
    values = {figure.measure: figure.value for figure in figures}
    measured = [
        _number(values[found.measure], found.measure) if found.split == "test" and found.measure in values else ""
        for found in row.measured
    ]
    return _epsilon(figures[0].epsilon), figures[0].who, "", *measured, "", "", "", ""


def lines(study: Study, rows: Sequence[Row]) -> list[tuple[str, ...]]:
    """A study's table: what was measured, and what others published."""
    by_source: dict[tuple[str, float | None], list[Published]] = {}
    for figure in study.published:
        by_source.setdefault((figure.who, figure.epsilon), []).append(figure)
    return [*map(cells_of, rows), *(published_cells(rows[0], found) for found in by_source.values())]


def markdown(study: Study, rows: Sequence[Row]) -> str:
    """One table, with its sources below."""
    head = columns(rows[0])
    table = [head, ("---",) * len(head), *lines(study, rows)]
    text = "\n".join(f"| {' | '.join(line)} |" for line in table)
    return "\n".join([f"### {study.title}", "", text, "", *_sources(study)])


def latex(study: Study, rows: Sequence[Row]) -> str:
    """One ``tabular``, for a paper."""
    head = columns(rows[0])
    body = "\n".join(f"{' & '.join(map(_escaped, line))} \\\\" for line in lines(study, rows))
    shape = "rl" + "r" * (len(head) - 2)
    top = f"% {study.title}\n\\begin{{tabular}}{{{shape}}}\n\\hline\n{' & '.join(map(_escaped, head))} \\\\\n\\hline\n"
    return f"{top}{body}\n\\hline\n\\end{{tabular}}\n"


def as_csv(rows: Sequence[Row]) -> str:
    """One line a measure: numbers as they are, for other programs."""
    file = io.StringIO(newline="")
    writer = csv.writer(file, lineterminator="\n")
    head = ("study", "epsilon", "mode", "runs", "split", "measure", "mean", "deviation")
    writer.writerow((*head, "spent", "cpu_seconds", "sent", "received"))
    for row in rows:
        cost = ("" if row.spent is None else row.spent, row.cpu_seconds, row.sent, row.received)
        for found in row.measured:
            deviation = "" if found.spread.deviation is None else found.spread.deviation
            place = (row.study, _epsilon(row.epsilon), row.mode, row.runs, found.split, found.measure)
            writer.writerow((*place, found.spread.mean, deviation, *cost))
    return file.getvalue()


def _sources(study: Study) -> list[str]:
    by_source: dict[str, dict[str, None]] = {}
    for figure in study.published:
        by_source.setdefault(figure.source, {})[figure.who] = None
    sources = [f"{'; '.join(names)}: {source}." for source, names in by_source.items()]
    return ["\n\n".join(sources), ""] if sources else []


def _heading(found: Measured) -> str:
    return f"{found.split if found.split == 'test' else 'val.'} {_MEASURES[found.measure]}"


def _spread(spread: Spread, measure: str) -> str:
    if spread.deviation is None:
        return _number(spread.mean, measure)
    if measure == "accuracy":
        return f"{100 * spread.mean:.1f} ± {100 * spread.deviation:.1f} %"
    return f"{spread.mean:.3f} ± {spread.deviation:.3f}"


def _number(value: float, measure: str) -> str:
    return f"{100 * value:.1f} %" if measure == "accuracy" else f"{value:.3f}"


def _epsilon(epsilon: float | None) -> str:
    return "none" if epsilon is None else f"{epsilon:g}"


def _size(count: float) -> str:
    if not count:
        return ""
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.0f} kB"


def _escaped(text: str) -> str:
    return escaped(text.replace("`", "")).replace("±", r"$\pm$")
