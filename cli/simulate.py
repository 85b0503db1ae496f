"""`secagg simulate`: a consortium on this machine, on data of one's own."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path
from typing import Any

import click

from cli.device import device_option
from cli.effect import is_given, require_effect
from cli.options import CHARTER_USES, charter_options, choices_from
from cli.output import json_option, print_json
from cli.run_view import RunView, show_result
from secagg.charter.names import is_name
from secagg.errors import InputError, SecaggError
from training.simulation import SimulationResult, SimulationSettings, prepare, run
from training.sites import DataSource, parse_place
from training.task import bind_to_file, load_task_file


@click.command()
@click.option(
    "--task", "task_file", type=click.Path(path_type=Path, dir_okay=False), help="Task file (TOML); see docs/tasks.md."
)
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
    help="Test records that no hospital trains on; if not given, patients that each hospital has held back are pooled.",
)
@click.option(
    "--drop",
    "drop_outs",
    multiple=True,
    help="Let a hospital drop out: NAME:ROUND before it sends its update, NAME:ROUND:reveal after. Can be repeated.",
)
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Folder of the run; must be new.")
@click.option(
    "--resume", type=click.Path(path_type=Path, file_okay=False), help="Continue the interrupted run in this folder."
)
@click.option(
    "--hospitals-at",
    type=click.Path(path_type=Path, file_okay=False),
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
    help="Also train on all records pooled, and at each hospital alone, to compare.",
)
@charter_options
@json_option
@click.pass_context
def simulate(context: click.Context, as_json: bool, resume: Path | None, **options: Any) -> None:
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
    if resume:
        _require_alone(context)
        result = follow(resume, as_json)
    else:
        out = _required(options.pop("out"), "--out")
        require_effect(context, CHARTER_USES)
        _require_consistent(options, out)
        result = start(out, _settings(options), as_json)
    print_json(result) if as_json else show_result(result)


def start(folder: Path, settings: SimulationSettings, as_json: bool) -> SimulationResult:
    """Lay out a run in ``folder`` and run it. Refused before it began, it leaves no folder behind."""
    prepare(folder, settings)
    try:
        return follow(folder, as_json)
    except SecaggError:
        # The coordinator writes down every round before it begins: without its folder nobody has trained on anything.
        if not (folder / "coordinator").exists():
            shutil.rmtree(folder)
        raise


def follow(folder: Path, as_json: bool) -> SimulationResult:
    """Run what is in ``folder`` under a progress bar; an interruption says how to go on."""
    try:
        with RunView(as_json) as view:
            return run(folder, view.observer)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"Go on with: secagg simulate --resume {shlex.quote(str(folder))}") from None


def require_beside(hospitals_at: Path | None, out: Path) -> None:
    """Hospitals that outlive the run cannot be in its folder, which is new."""
    if hospitals_at and hospitals_at.absolute().is_relative_to(out.absolute()):
        raise click.UsageError(f"--hospitals-at {hospitals_at} is inside --out, which is new: choose one beside it.")


def _require_alone(context: click.Context) -> None:
    """A run that is taken up again has its charter and its settings; an option beside it would be ignored."""
    for parameter in context.command.params:
        name, spellings = parameter.name or "", (*parameter.opts, *parameter.secondary_opts)
        if name not in ("resume", "as_json") and is_given(context, name):
            raise click.UsageError(f"--resume takes all settings from the folder: leave out {'/'.join(spellings)}.")


def _require_consistent(options: dict[str, Any], out: Path) -> None:
    """No option that would be ignored because of another."""
    split, column = options["split"], options["site_column"]
    if split and column:
        raise click.UsageError("--split and --site-column are two ways to divide one file: give one of them.")
    if (split or column) and len(options["data"]) > 1:
        raise click.UsageError(f"{'--split' if split else '--site-column'} divides one file: give --data once.")
    if options["hospitals"] and not split:
        raise click.UsageError("--hospitals says into how many --split divides one file: add --split iid.")
    require_beside(options["hospitals_at"], out)


def _settings(options: dict[str, Any]) -> SimulationSettings:
    task_file = _required(options["task_file"], "--task")
    if not options["data"]:
        raise click.UsageError("Missing option '--data'.")
    spec = load_task_file(task_file)
    _, first = parse_place(options["data"][0])
    if first.is_dir() and spec.kind.startswith("tabular"):
        files = sorted(entry for entry in first.iterdir() if not entry.name.startswith("."))
        if not files:
            raise InputError(
                "empty-folder",
                f"{first} holds no files.",
                culprit=str(first),
                remedy="Put one file per hospital in it.",
            )
        first = files[0]
    spec = bind_to_file(spec, first)
    source = DataSource(
        paths=tuple(_absolute(text) for text in options["data"]),
        site_column=options["site_column"],
        split=options["split"],
        hospitals=options["hospitals"] or 0,
        seed=options["seed"],
        test=str(Path(options["test"]).absolute()) if options["test"] else None,
    )
    return SimulationSettings(
        task_kind=spec.kind,
        task_settings=spec.settings_json().decode(),
        source=source,
        choices=choices_from(task_file.stem if is_name(task_file.stem) else "consortium", options),
        drop_outs=options["drop_outs"],
        device=options["device"],
        hospitals_at=str(options["hospitals_at"].absolute()) if options["hospitals_at"] else None,
        seed=options["seed"],
        compare=options["compare"],
    )


def _absolute(text: str) -> str:
    """The place of data, so that the run can be taken up again from anywhere."""
    name, path = parse_place(text)
    return str(path.absolute()) if name is None else f"{name}={path.absolute()}"


def _required(value: Path | None, option: str) -> Path:
    if value is None:
        raise click.UsageError(f"Missing option '{option}'.")
    return value
