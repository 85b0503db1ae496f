"""What a run looks like on the terminal: progress while it works, a row a round, the comparison at its end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import click
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from cli.json_text import json_text
from cli.output import console, epsilon, percent, print_table, quiet_progress, score, size, unmarked, warn
from cli.paths import quoted
from dp.ledger import BudgetUse
from dp.ledger.budget_use import ALERTS
from dp.stated import exact, is_covered
from secagg.charter import Charter, VerifiedCharter
from secagg.charter.cautions import Caution, cautions
from secagg.charter.sections import ENCRYPTED_SCHEMES
from secagg.errors import SecaggError
from secagg.masking import Purpose
from secagg.printable import printable
from training.begun_with import RECORDS_CHANGED
from training.compared import Compared
from training.metrics import Metrics
from training.patient_unit import patient_unit
from training.round_record import RoundRecord, some
from training.run_folder import RunFolder
from training.run_history import RoundResult
from training.simulation import Observer, SimulationResult
from training.tested_patients import TRAINED_ON


class RunView:
    """Follows a simulation. Use it as a context manager and hand `observer` to the run.

    Args:
        as_json: whether what hospitals refuse or warn of is told as one JSON object a line; all other warnings are in
            the result then.
    """

    def __init__(self, as_json: bool = False) -> None:
        self._as_json = as_json
        self._progress = quiet_progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        self._task = self._progress.add_task("setting up", total=None)
        self._members = 0
        self._told: set[str] = set()

    def __enter__(self) -> RunView:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    @property
    def observer(self) -> Observer:
        """What the run calls."""
        return Observer(
            self._start,
            self._answer,
            self._round,
            self._compare,
            self._refusal,
            self._no_comparison,
            self._statistics,
            self._caution,
        )

    def _start(self, charter: VerifiedCharter, of_the_task: tuple[Caution, ...] = ()) -> None:
        content = charter.charter
        self._members = len(content.members)
        self._warn((*cautions(content), *of_the_task))
        self._progress.update(self._task, total=content.training.rounds)

    def _answer(self, phase: str, member: int) -> None:
        if phase in ("mask", "deal"):
            what = "training" if phase == "mask" else "exchanging keys"
            self._progress.update(self._task, description=f"{what}: hospital {member} of {self._members}")

    def _round(self, result: RoundResult) -> None:
        if result.record.step:
            self._told.clear()
        if result.record.purpose is Purpose.TRAINING and result.record.step:
            self._progress.update(self._task, completed=result.record.step)

    def _compare(self, what: str) -> None:
        self._progress.update(self._task, description=f"for comparison, training on {what}")

    def _refusal(self, member: str, error: SecaggError) -> None:
        # A round that failed is tried again, and what it failed of is refused in the same words.
        line = f"{member}: {error.diagnostics()}"
        if line in self._told:
            return
        self._told.add(line)
        self._tell("refusal", {"member": member}, f"{member} refuses: ", error)

    def _no_comparison(self, what: str, error: SecaggError) -> None:
        self._tell("no_comparison", {"with": what}, f"No comparison with {what}: ", error)

    def _statistics(self, of_the_statistics: tuple[Caution, ...]) -> None:
        self._warn(of_the_statistics)

    def _caution(self, member: str, caution: Caution) -> None:
        if self._as_json:
            _say_as_json("caution", {"member": member, **asdict(caution)})
        else:
            warn([replace(caution, message=f"{member}: {caution.message}")])

    def _warn(self, told: tuple[Caution, ...]) -> None:
        if not self._as_json:
            warn(told)

    def _tell(self, kind: str, about: dict[str, str], opening: str, error: SecaggError) -> None:
        if self._as_json:
            _say_as_json(kind, {**about, "reason": error.reason, "message": error.message, "remedy": error.remedy})
            return
        line = printable(opening + error.diagnostics())
        self._progress.console.print(line, style="yellow", markup=False, soft_wrap=True)


def _say_as_json(kind: str, told: Mapping[str, str | None]) -> None:
    click.echo(json_text({kind: told}).decode(), err=True)


def show_result(result: SimulationResult, report: Path | None = None) -> None:
    """The table of rounds, the comparison, and where everything is."""
    print_table(_rounds_table(result))
    console.print()
    print_table(_comparison_table(result))
    console.print()
    if result.terms.privacy == "none":
        console.print(f"{_UNPROTECTED}\n", style="yellow", markup=False, soft_wrap=True)
    alerts = list(budget_lines(result.budgets))
    for line in alerts:
        console.print(line, style="yellow", markup=False, soft_wrap=True)
    if alerts:
        console.print()
    folder = RunFolder(result.folder)
    places = (
        (folder.release, "the model, and a statement about it that every hospital signed"),
        (folder.charter, "what the hospitals agreed on, with their signatures"),
        (result.hospitals, "each hospital's own keys, policy, ledger, latch, log and checkpoint"),
        (folder.coordinator, _kept(result.charter.charter)),
        *([(report, "the report for a privacy officer: open it in a browser")] if report else []),
    )
    width = max(len(str(place)) for place, _ in places)
    for place, what in places:
        console.print(f"  {escape(str(place).ljust(width))}  [dim]{what}[/dim]", soft_wrap=True)
    release = escape(quoted(folder.release))
    console.print(f"\nCheck it: [bold]secagg model verify {release}[/bold]", soft_wrap=True)


def budget_lines(budgets: Mapping[str, BudgetUse]) -> Iterator[str]:
    """For each of 50, 80 and 100 per cent that hospitals have come to: who they are, and who has used most."""
    for level in reversed(ALERTS):
        names = tuple(name for name, use in budgets.items() if use.alert == level)
        if names:
            most = max((budgets[name] for name in names), key=lambda use: use.percent)
            whose = some(names, _MOST_NAMES)
            yield f"Budget alert, {level} %: {whose}. {most.told()}, under the policies in their folders."


def _kept(charter: Charter) -> str:
    sums = "sums that it cannot read" if charter.scheme in ENCRYPTED_SCHEMES else "sums"
    return f"all that the coordinator kept: {sums}, and a transcript of every message"


def _rounds_table(result: SimulationResult) -> Table:
    members = len(result.charter.charter.members)
    private = result.charter.charter.privacy.mode != "none"
    title, shown = shown_rounds(result.rounds)
    table = Table(title=title, title_justify="left", caption=_caption(result, private), caption_justify="left")
    for heading in ("round", "in the sum", "dropped out", "accuracy", "AUC"):
        table.add_column(heading, justify="left" if heading == "dropped out" else "right")
    if private:
        table.add_column("epsilon", justify="right")
    table.add_column("sent each", justify="right")
    for row in shown:
        record = row.record
        label = str(record.round) if record.purpose is Purpose.TRAINING else f"{record.round} (statistics)"
        summed = f"{len(record.survivors)} of {members}" if record.survivors else "no sum"
        metrics = row.metrics or Metrics(None, None, 0)
        cells = [label, summed, _dropped(record), percent(metrics.accuracy), score(metrics.auc)]
        cells += [epsilon(row.epsilon)] if private else []
        table.add_row(*cells, size(record.bytes_up / max(1, members)))
    return table


def shown_rounds(rounds: Sequence[RoundResult]) -> tuple[str, list[RoundResult]]:
    """A title, and which rounds to show: all of a few; of many every so-many-th, and those that went otherwise."""
    every = -(-len(rounds) // _MOST_ROUNDS)
    if every == 1:
        return "Rounds", list(rounds)
    shown = [
        row
        for place, row in enumerate(rounds, 1)
        if place in (1, len(rounds)) or place % every == 0 or row.record.reason or row.record.dropped
    ]
    return f"One round in {every}, and those in which a hospital dropped out or no sum was made", shown


def _caption(result: SimulationResult, private: bool) -> str:
    in_doubt = {TRAINED_ON, RECORDS_CHANGED} & {caution.code for caution in result.warnings}
    unit = patient_unit(result.charter.charter)
    whom = "on the test patients: see the warning" if in_doubt else f"on {unit.many} that no hospital trained on"
    told = f"Accuracy and AUC are {whom}.\nSent each is the mean over hospitals."
    if private:
        told += (
            f"\nEpsilon is the most that any {unit.one} has spent at one hospital in this run so far, by the ledgers."
        )
    return told


def _dropped(record: RoundRecord) -> str:
    return unmarked("; ".join(filter(None, (record.dropped_out(_MOST_NAMES), record.reason))))


def _comparison_table(result: SimulationResult) -> Table:
    mode, spent, compared = _planned(result), _spent(result), result.comparison
    title = "How the model compares" if compared else "The model"
    caption = _same_steps(result, compared) if compared else None
    table = Table(title=title, title_justify="left", caption=caption, caption_justify="left")
    table.add_column("trained on")
    table.add_column("accuracy", justify="right")
    table.add_column("AUC", justify="right")
    table.add_row(f"[bold]together, nobody sees an update{spent}[/bold]", *_both(result.federated), style="green")
    if compared is None:
        return table
    table.add_row("all records pooled, same steps, no protection", *_both(compared.pooled_same_steps))
    if compared.curator:
        table.add_row(f"all records at one trusted curator{mode}", *_both(compared.curator))
    alone = sorted(compared.alone, key=lambda entry: entry[1].accuracy or 0.0)
    if len(alone) > _FEW:
        for what, entry in (("worst", alone[0]), ("median", alone[len(alone) // 2]), ("best", alone[-1])):
            table.add_row(f"{entry[0]} alone{mode} ({what} of {len(alone)})", *_both(entry[1]))
    else:
        for name, metrics in compared.alone:
            table.add_row(f"{name} alone{mode}", *_both(metrics))
    return table


def _same_steps(result: SimulationResult, compared: Compared) -> str:
    told = f"Each is trained for {compared.steps} steps with the same settings; none is tuned, or trained to the end."
    if result.terms.privacy == "none":
        shows = "The second line shows what federating costs. It is no upper limit: with more steps it may be better."
    else:
        shows = (
            "The second line has neither clipping nor noise, and is no upper limit: it shows neither what federating "
            "nor what privacy costs. For federating, see the first two lines under --dp none; for privacy, compare "
            "with the best you reach under --dp none."
        )
    return f"{told} {shows}"


def _planned(result: SimulationResult) -> str:
    privacy = result.charter.charter.privacy
    return f", epsilon {exact(privacy.budget)}" if privacy.mode != "none" else ""


def _spent(result: SimulationResult) -> str:
    """What was planned, or what was spent where that is more: rounds that gave no sum are charged too."""
    most = max((row.epsilon or 0.0 for row in result.rounds), default=0.0)
    as_planned = is_covered(most, result.charter.charter.privacy.budget)
    return _planned(result) if as_planned else f", epsilon {epsilon(most)}"


_UNPROTECTED = "The model is not protected: it may reveal individual patients. Noise limits that: see --dp."
_FEW = 12
_MOST_NAMES = 3
_MOST_ROUNDS = 30


def _both(metrics: Metrics) -> tuple[str, str]:
    return percent(metrics.accuracy), score(metrics.auc)
