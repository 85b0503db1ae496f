"""`secagg audit privacy`: is there as much noise as is claimed? Told from what runs give out, and from nothing else."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Column, Table

from cli.audit_plot import write_plot
from cli.chart_file import check_plot_path
from cli.output import json_option, print_json, print_table, quiet_progress
from cli.paths import FILE, FOLDER
from cli.sizing import Number
from dp.stated import no_less, no_more
from secagg.charter.folder import read_charter
from secagg.errors import TamperingError
from training.auditing.record import PrivacyRecord, cannot_refute, privacy_record
from training.auditing.settings import FEWEST_CANARIES, MOST_CANARIES, USUAL_CANARIES, USUAL_RUNS, Mode, Settings

_MOST_RUNS = 10_000
_CONFIDENCE = Number(min=0.5, max=1, max_open=True)


@click.command()
@click.option(
    "--mode",
    type=click.Choice(["local", "distributed"]),
    help="Mode of differential privacy; distributed if not given.",
)
@click.option("--charter", "folder", type=FOLDER, help="Audit the privacy terms of the charter in this folder.")
@click.option(
    "--canaries",
    type=click.IntRange(FEWEST_CANARIES, MOST_CANARIES),
    default=USUAL_CANARIES,
    show_default=True,
    help="Canaries (made-up patients) in each run.",
)
@click.option(
    "--runs",
    type=click.IntRange(1, _MOST_RUNS),
    default=USUAL_RUNS,
    show_default=True,
    help="Number of runs. Each gives a bound; the bound of all together decides.",
)
@click.option("--confidence", type=_CONFIDENCE, default=0.95, show_default=True, help="Confidence of each bound.")
@click.option(
    "--controls",
    type=FOLDER,
    help="Also audit builds without noise, clipping or half the noise, which must be caught: give tests/attacks of a "
    "source checkout.",
)
@click.option("--plot", type=FILE, help="Draw the bounds into FILE.svg or FILE.html.")
@json_option
@click.pass_context
def privacy(
    context: click.Context,
    mode: Mode | None,
    folder: Path | None,
    canaries: int,
    runs: int,
    confidence: float,
    controls: Path | None,
    plot: Path | None,
    as_json: bool,
) -> None:
    """Train with canaries, guess which took part, and bound epsilon from below by how many guesses are right.

    Canaries are made-up patients who weigh as much as a patient can; a coin toss decides whether each takes part. The
    runs go through sampling, clipping, noise, encoding and, with --mode distributed, the whole protocol. If the bound
    of all runs together is above the claimed epsilon, there is less noise than is claimed: exit code 4, as when a
    control is not caught. A bound below the claim does not prove it, and small audits cannot refute large claims: the
    command says so where this is one. Weakened builds are not installed; with --controls they are loaded from a source
    checkout and run. `secagg audit report` takes what --json prints for a test of a charter's promise only if it was
    made with --charter of that charter.

    \b
    Examples:
      secagg audit privacy
      secagg audit privacy --mode local --plot audit.html
      secagg audit privacy --controls tests/attacks
      secagg audit privacy --charter run/charter --runs 5
    """
    from training.auditing.audit import audit, audit_controls, privacy_controls
    from training.auditing.terms import Terms

    if mode and folder:
        raise click.UsageError("Give --mode or --charter, which has one, not both.")
    if plot:
        check_plot_path(plot)
    charter = read_charter(folder) if folder else None
    terms = Terms.of(charter) if charter else Terms.usual(mode or "distributed")
    weakened = privacy_controls(controls) if controls else {}
    settings = Settings(canaries=canaries, runs=runs, confidence=confidence)
    with _progress() as progress:
        task = progress.add_task("training with canaries", total=(1 + len(weakened)) * runs * terms.rounds)
        on_round = partial(progress.advance, task)
        found = audit(terms, settings, on_round=on_round)
        caught = audit_controls(terms, settings, weakened, on_round)
    record = privacy_record(found, caught, weakened, charter)
    if as_json:
        print_json(record)
    else:
        print_table(_table(record))
        _say(record)
    if plot:
        # Last: what took hours is told also where no plot can be written.
        write_plot(plot, record)
    context.exit(0 if record.passed else TamperingError.exit_code)


def _progress() -> Progress:
    return quiet_progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())


def _table(record: PrivacyRecord) -> Table:
    """A row for each build."""
    runs = len(record.audit.runs)
    each = "the one run" if runs == 1 else f"each of {runs} runs"
    table = Table(
        "build",
        Column("claimed", justify="right"),
        Column(f"{each}, at least", justify="right"),
        Column("all together, at least", justify="right"),
        Column("right guesses", justify="right"),
        title=f"Epsilon at delta {record.audit.delta:g}, {record.mode}",
        title_justify="left",
    )
    for build in (record.audit, *record.controls.values()):
        bounds = [bound.epsilon for bound in build.runs]
        low, high = (no_more(bound, 2) for bound in (min(bounds), max(bounds)))
        table.add_row(
            f"without {build.lacks}" if build.lacks else "this one",
            no_less(build.claim, 2),
            low if runs == 1 else f"{low} to {high}",
            no_more(build.together.epsilon, 2),
            f"{build.together.right} of {build.together.guesses}",
        )
    return table


def _say(record: PrivacyRecord) -> None:
    found, controls = record.audit, record.controls.values()
    count = len(found.runs)
    within = sum(bound.epsilon <= found.claim for bound in found.runs)
    claim, least = no_less(found.claim, 2), no_more(found.together.epsilon, 2)
    if not found.can_refute:
        click.echo(
            f"This could not have refuted the claim: {cannot_refute(found)}. Take more --canaries, or more --runs."
        )
    elif found.within_claim and count == 1:
        click.echo(
            f"Yes: the run does not contradict the claim of {claim}: its bound is below it. This does not prove the "
            "claim."
        )
    elif found.within_claim:
        click.echo(
            f"Yes: the runs do not contradict the claim of {claim}. The bound of all together is below it, "
            f"and so are those of {within} of {count} runs by themselves. This does not prove the claim."
        )
    else:
        click.echo(
            f"No: epsilon is at least {least}, with a confidence of {100 * found.confidence:g} %, but {claim} is "
            "claimed: the implementation adds less noise than it claims."
        )
    if found.within_claim and found.can_refute:
        click.echo(f"The most that this test could have shown is {no_more(found.most, 2)}, with every guess right.")
    for control in controls:
        if control.within_claim:
            click.echo(
                f"No: the build without {control.lacks} should be caught, and was not: these runs are too few to tell."
            )
    caught = sum(not control.within_claim for control in controls)
    if controls and caught == len(controls):
        click.echo(f"Yes: all {caught} controls were caught.")
