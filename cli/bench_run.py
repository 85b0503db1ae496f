"""`secagg bench run`: measure whole rounds, and go on where a run was stopped."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click
import msgspec
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks.sweep import flower
from benchmarks.sweep.case import SCHEMES, Case, Scheme
from benchmarks.sweep.environment import Environment
from benchmarks.sweep.folder import RunWriter, read_run
from benchmarks.sweep.grids import full, grid, short
from benchmarks.sweep.running import USUAL_TURNS, measurable, missing_here, orders, run_cases
from benchmarks.sweep.worker import Order
from cli.bench_files import write_out
from cli.output import json_option, print_json, progress_console, quiet_progress
from cli.paths import FOLDER, quoted
from cli.sizing import BELOW_ONE
from secagg.charter.sections import MOST_MEMBERS, MOST_PARAMETERS, PrivacyMode
from secagg.errors import SecaggError

_MOST_TURNS = 100


class RunJson(msgspec.Struct, frozen=True):
    """What a run left.

    Attributes:
        cases: that are in the folder, earlier ones too.
        left_out: by scheme, why it was not measured here; and combinations that cannot be had.
    """

    folder: str
    cases: int
    left_out: dict[str, str]
    files: list[str]


@click.command()
@click.option("--short", "size", flag_value="short", help="Measure the short table, in minutes. This is the default.")
@click.option("--full", "size", flag_value="full", help="Measure all cases, in hours.")
@click.option(
    "--scheme",
    "schemes",
    type=click.Choice(SCHEMES),
    multiple=True,
    help="Scheme to measure; all if not given. Can be repeated, as can the next four.",
)
@click.option(
    "--hospitals", type=click.IntRange(3, MOST_MEMBERS), multiple=True, help="Number of hospitals; 10 if not given."
)
@click.option(
    "--parameters",
    type=click.IntRange(1, MOST_PARAMETERS),
    multiple=True,
    help="Number of parameters; 100,000 if not given.",
)
@click.option(
    "--dropout", "dropouts", type=BELOW_ONE, multiple=True, help="Share of hospitals that drop out; 0.1 if not given."
)
@click.option(
    "--dp",
    "modes",
    type=click.Choice(["none", "local", "distributed"]),
    multiple=True,
    help="Mode of differential privacy; none if not given.",
)
@click.option(
    "--turns",
    type=click.IntRange(1, _MOST_TURNS),
    default=USUAL_TURNS,
    show_default=True,
    help="Repetitions of each case; the fastest counts.",
)
@click.option("--out", type=FOLDER, required=True, help="Folder of the run.")
@json_option
def run(
    size: str | None,
    schemes: tuple[Scheme, ...],
    hospitals: tuple[int, ...],
    parameters: tuple[int, ...],
    dropouts: tuple[float, ...],
    modes: tuple[PrivacyMode, ...],
    turns: int,
    out: Path,
    as_json: bool,
) -> None:
    """Measure whole rounds, key set-up included: CPU and wall time, memory, bytes, messages and error.

    Each case is measured in processes of its own on one core, in turn with the others; the fastest turn counts. A run
    that was stopped goes on when it is started again with the same folder, on the same machine with the same versions.
    The folder holds results.json for pytest-benchmark, results.csv, tables in results.md and results.tex, and plots.

    \b
    Examples:
      secagg bench run --out runs/bench
      secagg bench run --full --out runs/full
      secagg bench run --scheme mask --scheme nvflare --hospitals 40 --parameters 1000000 --out runs/mine
      secagg bench run --scheme mask --dropout 0 --dropout 0.3 --dp distributed --out runs/mine
    """
    chosen = (schemes, hospitals, parameters, dropouts, modes)
    if size and any(chosen):
        raise click.UsageError("Give --short or --full, or which cases you want, not both.")
    cases, left_out = _chosen(*chosen) if any(chosen) else (full() if size == "full" else short(), {})
    left_out |= {scheme: why for scheme, why in missing_here().items() if any(one.scheme == scheme for one in cases)}
    here = measurable(cases)
    if not here:
        raise flower.missing()
    for what, why in left_out.items():
        progress_console.print(f"Left out: {what}: {why}.", markup=False, soft_wrap=True)
    with RunWriter(out, Environment.here()) as writer, _progress() as progress:
        total = sum(1 for _ in orders(here, turns))
        task = progress.add_task("", total=total)

        def tell(order: Order) -> None:
            progress.update(task, advance=1, description=f"{_name(order)}, turn {order.turn} of {turns}")

        failed = run_cases(writer, here, turns, tell)
    found = read_run(out)
    files = write_out(out, found)
    if failed:
        raise _not_measured(list(failed.values()), out)
    held = len({one.case for one in found.measurements})
    if as_json:
        print_json(RunJson(str(out), held, left_out, [str(file) for file in files]))
        return
    measured = "1 case is" if held == 1 else f"{held} cases are"
    click.echo(f"{measured} in {out}. `secagg bench table {quoted(out)}` prints its tables.")


def _not_measured(failed: Sequence[SecaggError], out: Path) -> SecaggError:
    for error in failed:
        progress_console.print(f"Not measured: {error.message}", markup=False, soft_wrap=True)
    cases = "1 case" if len(failed) == 1 else f"{len(failed)} cases"
    return SecaggError(
        "not-measured",
        f"{cases} could not be measured, {failed[0].culprit} first. What was measured is in {out}, with its tables.",
        culprit=failed[0].culprit,
        remedy=failed[0].remedy,
    )


def _chosen(
    schemes: tuple[Scheme, ...],
    hospitals: tuple[int, ...],
    parameters: tuple[int, ...],
    dropouts: tuple[float, ...],
    modes: tuple[PrivacyMode, ...],
) -> tuple[list[Case], dict[str, str]]:
    cases, refused = grid(
        schemes or SCHEMES, hospitals or (10,), parameters or (100_000,), dropouts or (0.1,), modes or ("none",)
    )
    if not cases:
        raise refused[0]
    return cases, {error.culprit or error.reason: error.message.rstrip(".") for error in refused}


def _name(order: Order) -> str:
    return f"{order.case.name}, {order.kind}" if order.case else "the machine's own speed"


def _progress() -> Progress:
    return quiet_progress(
        MofNCompleteColumn(), BarColumn(bar_width=20), TimeElapsedColumn(), TextColumn("{task.description}")
    )
