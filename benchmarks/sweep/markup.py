"""Tables as Markdown and LaTeX, and all figures as CSV. Knows the three notations and nothing of what they say."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Final

import msgspec

from benchmarks.sweep.folder import Run
from benchmarks.sweep.measurement import Cost
from benchmarks.sweep.results import results_of
from benchmarks.sweep.tables import Table

_CASE: Final = ("scheme", "hospitals", "parameters", "dropout", "dp")
_SPECIAL: Final = {
    "\\": r"\textbackslash{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
}


def markdown(tables: Sequence[Table]) -> str:
    """Pipe tables with headings, numbers to the right."""
    return "\n".join(_markdown(table) for table in tables)


def latex(tables: Sequence[Table]) -> str:
    """Tables for the package booktabs."""
    return "% \\usepackage{booktabs}\n" + "\n".join(_latex(table) for table in tables)


def comma_separated(run: Run) -> str:
    """A line for each case, phase and party: seconds, yardsticks and bytes as measured, nothing where nothing was."""
    out = io.StringIO()
    fields = Cost.__struct_fields__
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow((*_CASE, *fields, "error", "real_hospitals", "field_bits", "by"))
    for result in results_of(run):
        case = [getattr(result.case, name) for name in _CASE]
        for figures in result.figures.values():
            cost = msgspec.structs.astuple(figures.cost)
            writer.writerow((*case, *cost, result.error, result.real_hospitals, result.field_bits, result.by))
    return out.getvalue()


def _markdown(table: Table) -> str:
    def line(cells: Sequence[str]) -> str:
        return f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |"

    rule = "|".join(["---", *["---:"] * (len(table.columns) - 1)])
    lines = [f"**{table.title}**", "", line(table.columns), f"|{rule}|", *map(line, table.rows), ""]
    return "\n".join([*lines, *(f"- {note}" for note in table.notes), ""])


def _latex(table: Table) -> str:
    def line(cells: Sequence[str]) -> str:
        return f"{' & '.join(map(escaped, cells))} \\\\"

    lines = [
        r"\begin{table}",
        rf"\caption{{{escaped(table.title)}}}",
        rf"\begin{{tabular}}{{l{'r' * (len(table.columns) - 1)}}}",
        r"\toprule",
        line(table.columns),
        r"\midrule",
        *map(line, table.rows),
        r"\bottomrule",
        r"\end{tabular}",
        *(rf"\par\footnotesize {escaped(note)}" for note in table.notes),
        r"\end{table}",
    ]
    return "\n".join([*lines, ""])


def escaped(text: str) -> str:
    """Text as LaTeX takes it."""
    return "".join(_SPECIAL.get(character, character) for character in text)
