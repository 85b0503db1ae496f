"""How a watched training looks on the terminal."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from cli.output import epsilon, percent, score, unmarked
from dp.stated import exact
from secagg.masking import Purpose
from secagg.printable import printable
from training.watching.watched import WatchedRound, WatchedTraining

_SHOWN = 12
_WIDTH = 40


def show_training(found: WatchedTraining) -> RenderableType:
    """All of it, as one thing that can be drawn again and again."""
    head = Text.assemble((found.name, "bold"), f", {found.kind}: ", (found.state, "bold"))
    head.append(f"  charter {found.charter[:16]}", "dim")
    parts: list[RenderableType] = [head, _bars(found)]
    if found.use:
        alert = f"Alert, {found.alert} %: " if found.alert else ""
        parts.append(Text(f"{alert}{found.use.told()}.", "yellow" if found.alert else ""))
    if found.message:
        parts.append(Text(printable(found.message), "yellow"))
    if found.rounds:
        parts.append(_rounds(found))
    return Group(*parts)


def _bars(found: WatchedTraining) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_row("sums", _bar(found.steps, found.steps_due), f"{found.steps} of {found.steps_due}")
    if found.budget is not None and found.epsilon is not None:
        spent = f"{epsilon(found.epsilon)} of {exact(found.budget)}, delta {found.delta:g}"
        table.add_row("epsilon", _bar(found.epsilon, found.budget), spent)
    return table


def _bar(done: float, total: float) -> ProgressBar:
    return ProgressBar(total=total, completed=min(done, total), width=_WIDTH)


def _rounds(found: WatchedTraining) -> Table:
    table = Table("round", "in the sum", "dropped out", "accuracy", "AUC", "epsilon")
    for column in (0, 1, 3, 4, 5):
        table.columns[column].justify = "right"
    hidden = len(found.rounds) - _SHOWN
    if hidden > 0:
        table.title, table.title_justify = f"Rounds, without the first {hidden}", "left"
    for row in found.rounds[-_SHOWN:]:
        table.add_row(*_cells(row, found.members))
    return table


def _cells(row: WatchedRound, members: int) -> tuple[str, ...]:
    label = str(row.round) if row.purpose is Purpose.TRAINING else f"{row.round} (statistics)"
    cohort = unmarked(f"no sum: {row.reason}") if row.reason else f"{row.cohort} of {members}"
    spent = "-" if row.epsilon is None else epsilon(row.epsilon)
    return label, cohort, unmarked(row.dropped_out), percent(row.accuracy), score(row.auc), spent
