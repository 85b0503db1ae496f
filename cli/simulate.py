"""`secagg simulate`: a consortium on this machine, on data of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from cli.device import device_option
from cli.effect import is_given, require_effect
from cli.options import CHARTER_USES, charter_options
from cli.output import json_option, print_json
from cli.paths import FILE, FOLDER


@click.command()
@click.option("--task", "task_file", type=FILE, help="Task file (TOML); see docs/tasks.md.")
@click.option(
    "--data",
    "data",
    multiple=True,
    help="A hospital's file or folder, as PATH or NAME=PATH; repeat it for each hospital. Or one folder with a file "
    "per hospital. Or one file of all, with --site-column or --split.",
)
@click.option("--site-column", help="Column that names the hospital, if one file holds all.")
@click.option(
    "--split", help="Divide one file among hospitals: iid, or dirichlet:0.5 (the lower, the more they differ)."
)
@click.option("--hospitals", type=click.IntRange(3), help="Number of hospitals, with --split.")
@click.option(
    "--test",
    help="Records to test on, of patients in no --data; if not given, patients that each hospital has held back are "
    "pooled. With it, set evaluation.test_fraction = 0 in the task: held-back patients are then of no use.",
)
@click.option(
    "--drop",
    "drop_outs",
    multiple=True,
    help="Let a hospital drop out: NAME:ROUND before it sends its update, NAME:ROUND:reveal after. Can be repeated.",
)
@click.option("--out", type=FOLDER, help="Folder of the run; must be new.")
@click.option("--resume", type=FOLDER, help="Continue the interrupted run in this folder.")
@click.option(
    "--hospitals-at",
    type=FOLDER,
    help="Folder that keeps the hospitals for later runs, with their keys, policies and ledgers.",
)
@device_option
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of split and batches, not of noise."
)
@click.option(
    "--compare/--no-compare",
    default=True,
    show_default=True,
    help="Also train on all records pooled, and at each hospital alone, for as many steps with the same settings. "
    "Under --dp none it shows what federating costs; for what privacy costs, compare with the best of such runs.",
)
@charter_options
@json_option
@click.pass_context
def simulate(context: click.Context, /, as_json: bool, resume: Path | None, **options: Any) -> None:
    """Simulate a consortium on this machine: each hospital has its own folder, keys and policy; only messages pass.

    \b
    Examples:
      four hospitals, one file each:
        secagg simulate --task heart.toml --data cleveland.csv --data hungarian.csv --data va.csv --out run
      one archive, 40 hospitals that differ, differential privacy:
        secagg simulate --task xray.toml --data pneumonia.npz::train --test pneumonia.npz::test \\
            --split dirichlet:0.5 --hospitals 40 --dp local --epsilon 8 --out run
      with hospitals that keep their privacy budgets for later runs:
        secagg simulate --task heart.toml --data sites/ --dp local --hospitals-at hospitals --out second
      after an interruption:
        secagg simulate --resume run
    """
    from cli.run_view import show_result
    from cli.simulate_run import follow, require_consistent, required, settings_from, start

    if resume:
        _require_alone(context)
        result = follow(resume, as_json)
    else:
        out = required(options.pop("out"), "--out")
        require_effect(context, CHARTER_USES)
        require_consistent(options, out)
        result = start(out, settings_from(options), as_json)
    print_json(result) if as_json else show_result(result)


def _require_alone(context: click.Context) -> None:
    """A run that is taken up again has its charter and its settings; an option beside it would be ignored."""
    for parameter in context.command.params:
        name, spellings = parameter.name or "", (*parameter.opts, *parameter.secondary_opts)
        if name not in ("resume", "as_json") and is_given(context, name):
            raise click.UsageError(f"--resume takes all settings from the folder: leave out {'/'.join(spellings)}.")
