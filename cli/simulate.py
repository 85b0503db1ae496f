"""`secagg simulate`: a consortium on this machine, on data of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from cli.options import charter_options, choices_from
from cli.output import json_option, print_json
from cli.run_view import RunView, show_result
from secagg.errors import InputError
from training.simulation import SimulationResult, SimulationSettings, prepare, run
from training.sites import DataSource
from training.task import bind_to_file, load_task_file


@click.command()
@click.option("--task", "task_file", type=click.Path(path_type=Path, dir_okay=False), help="TOML; see docs/tasks.md.")
@click.option(
    "--data",
    "data",
    multiple=True,
    help="One hospital's file or folder (NAME=PATH or PATH); repeat it. Or one folder of files. Or one file of all.",
)
@click.option("--site-column", help="Column of the one file that names the hospital.")
@click.option("--split", help="Deal one file out: iid, or dirichlet:0.5.")
@click.option("--hospitals", type=click.IntRange(3), help="How many, with --split.")
@click.option("--test", help="Records that no hospital trains on; else each hospital's held-back patients are pooled.")
@click.option("--drop", "drop_outs", multiple=True, help="NAME:ROUND or NAME:ROUND:reveal: who fails when.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Folder for everything; must be new.")
@click.option("--resume", type=click.Path(path_type=Path, file_okay=False), help="Take up an interrupted run.")
@click.option(
    "--hospitals-at",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder where the hospitals outlive the run: same keys, policies and ledgers in the next one.",
)
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda", "mps"]), default="auto", show_default=True)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of split and batches, not noise.")
@click.option("--compare/--no-compare", default=True, show_default=True, help="Also train pooled and alone.")
@charter_options
@json_option
def simulate(as_json: bool, resume: Path | None, **options: Any) -> None:
    """Run a consortium on this machine: every hospital with its own folder, keys and policy, only bytes between them.

    \b
    Examples:
      four hospitals, one file each:
        secagg simulate --task heart.toml --data cleveland.csv --data hungarian.csv --data va.csv --out run
      one archive, 40 hospitals that differ, differential privacy:
        secagg simulate --task xray.toml --data pneumonia.npz::train --test pneumonia.npz::test \\
            --split dirichlet:0.5 --hospitals 40 --dp local --epsilon 8 --out run
      the same hospitals again: what they have spent of their privacy budget counts:
        secagg simulate --task heart.toml --data sites/ --dp local --hospitals-at hospitals --out second
      after an interruption:
        secagg simulate --resume run
    """
    if resume:
        result = follow(resume)
    else:
        out = _required(options.pop("out"), "--out")
        prepare(out, _settings(options))
        result = follow(out)
    print_json(result) if as_json else show_result(result)


def follow(folder: Path) -> SimulationResult:
    """Run what is in ``folder`` under a progress bar; an interruption says how to go on."""
    try:
        with RunView() as view:
            return run(folder, view.observer)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"Go on with: secagg simulate --resume {folder}") from None


def _settings(options: dict[str, Any]) -> SimulationSettings:
    task_file = _required(options["task_file"], "--task")
    if not options["data"]:
        raise click.UsageError("Missing option '--data'.")
    spec = load_task_file(task_file)
    first = Path(options["data"][0].partition("=")[2] or options["data"][0])
    if first.is_dir() and spec.kind.startswith("tabular"):
        files = sorted(entry for entry in first.iterdir() if not entry.name.startswith("."))
        if not files:
            raise InputError("empty-folder", f"{first} holds no files.", culprit=str(first))
        first = files[0]
    spec = bind_to_file(spec, first)
    source = DataSource(
        paths=options["data"],
        site_column=options["site_column"],
        split=options["split"],
        hospitals=options["hospitals"] or 0,
        seed=options["seed"],
        test=options["test"],
    )
    return SimulationSettings(
        task_kind=spec.kind,
        task_settings=spec.settings_json().decode(),
        source=source,
        choices=choices_from(task_file.stem, options),
        drop_outs=options["drop_outs"],
        device=options["device"],
        hospitals_at=str(options["hospitals_at"].absolute()) if options["hospitals_at"] else None,
        seed=options["seed"],
        compare=options["compare"],
    )


def _required(value: Path | None, option: str) -> Path:
    if value is None:
        raise click.UsageError(f"Missing option '{option}'.")
    return value
