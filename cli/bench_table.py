"""`secagg bench table`: a run's tables, as they stand in documents and papers."""

from __future__ import annotations

from pathlib import Path

import click

from benchmarks.sweep.folder import read_run
from benchmarks.sweep.markup import comma_separated, latex, markdown
from cli.bench_files import tables_of
from cli.effect import is_given
from cli.output import json_option, print_json
from cli.paths import PLACE
from secagg.errors import InputError


@click.command()
@click.argument("folder", type=PLACE)
@click.option(
    "--format",
    "notation",
    type=click.Choice(["md", "latex", "csv"]),
    default="md",
    show_default=True,
    help="csv: every figure of every phase and party, in seconds, yardsticks and bytes.",
)
@json_option
@click.pass_context
def table(context: click.Context, folder: Path, notation: str, as_json: bool) -> None:
    """Print the tables of the run in FOLDER: schemes side by side, the machine's own speed, and targets.

    Times are CPU time on one core, of the median hospital and of the coordinator, in the fastest turn. Memory is by how
    much a party made its process grow.

    \b
    Examples:
      secagg bench table runs/bench
      secagg bench table runs/bench --format latex > overhead.tex
      secagg bench table runs/bench --format csv > overhead.csv
    """
    if as_json and is_given(context, "notation"):
        raise click.UsageError("--json is a format of its own: leave out --format.")
    run = read_run(folder)
    tables = tables_of(folder, run)
    if not tables:
        raise InputError(
            "nothing-measured",
            f"{folder} holds no measurement yet.",
            culprit=str(folder),
            remedy="Start `secagg bench run` on it again: it goes on where it was stopped.",
        )
    if as_json:
        print_json(tables)
        return
    match notation:
        case "csv":
            text = comma_separated(run)
        case "latex":
            text = latex(tables)
        case _:
            text = markdown(tables)
    click.echo(text, nl=False)
