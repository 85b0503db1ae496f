"""What `secagg simulate` does: from its options to a run's settings, and the run itself under a progress bar."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from cli.options import choices_from
from cli.run_view import RunView
from secagg.charter.names import is_name
from secagg.errors import InputError, SecaggError
from training.run_folder import RunFolder
from training.simulation import SimulationResult, run
from training.simulation_folder import SimulationSettings, prepare, resuming
from training.sites import DataSource, parse_place
from training.task import bind_to_file, load_task_file


def start(folder: Path, settings: SimulationSettings, as_json: bool) -> SimulationResult:
    """Lay out a run in ``folder`` and run it. Refused before it began, it leaves nothing behind."""
    was_there = folder.exists()
    try:
        prepare(folder, settings)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("Nothing was begun: give the same command again.") from None
    try:
        return follow(folder, as_json)
    except SecaggError:
        # The coordinator writes down every round before it begins: without its folder nobody has trained on anything.
        if not RunFolder(folder).coordinator.exists():
            _take_back(folder, was_there)
        raise


def _take_back(folder: Path, was_there: bool) -> None:
    """Remove a run that has not begun, and its folder, unless that was there: it may be a mount, or where we are."""
    for name in RunFolder(folder).entries:
        entry = folder / name
        if entry.is_dir():
            shutil.rmtree(entry)
        else:
            entry.unlink(missing_ok=True)
    if not was_there:
        # What else is in it is not the run's; why that was refused is told.
        with suppress(OSError):
            folder.rmdir()


def follow(folder: Path, as_json: bool) -> SimulationResult:
    """Run what is in ``folder`` under a progress bar; an interruption says how to go on."""
    try:
        with RunView(as_json) as view:
            return run(folder, view.observer)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"Go on with: {resuming(folder)}") from None


def require_beside(hospitals_at: Path | None, out: Path) -> None:
    """Hospitals that outlive the run cannot be in its folder, which is new."""
    if hospitals_at and hospitals_at.resolve().is_relative_to(out.resolve()):
        raise click.UsageError(f"--hospitals-at {hospitals_at} is inside --out, which is new: choose one beside it.")


def require_consistent(options: dict[str, Any], out: Path) -> None:
    """No option that would be ignored, because of another or because it is empty."""
    split, column, test = options["split"], options["site_column"], options["test"]
    for option, values in (("data", options["data"]), ("split", [split]), ("site-column", [column]), ("test", [test])):
        if "" in values:
            raise click.UsageError(f"--{option} is empty, as a variable that is not set: give it a value.")
    if split and column:
        raise click.UsageError("--split and --site-column are two ways to divide one file: give one of them.")
    if (split or column) and len(options["data"]) > 1:
        raise click.UsageError(f"{'--split' if split else '--site-column'} divides one file: give --data once.")
    if options["hospitals"] and not split:
        raise click.UsageError("--hospitals says into how many --split divides one file: add --split iid.")
    require_beside(options["hospitals_at"], out)


def settings_from(options: dict[str, Any]) -> SimulationSettings:
    """What the command's options come to; where features are not listed, they are read from the first file."""
    task_file = required(options["task_file"], "--task")
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
    lists_features, spec = spec.is_bound, bind_to_file(spec, first)
    source = DataSource(
        paths=tuple(_absolute(text) for text in options["data"]),
        site_column=options["site_column"],
        split=options["split"],
        hospitals=options["hospitals"] or 0,
        seed=options["seed"],
        test=str(Path(options["test"]).absolute()) if options["test"] else None,
        columns_from=None if lists_features else str(first.absolute()),
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


def required(value: Path | None, option: str) -> Path:
    """The value of an option that this use of the command cannot do without."""
    if value is None:
        raise click.UsageError(f"Missing option '{option}'.")
    return value
