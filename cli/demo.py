"""`secagg demo`: eight hospitals, 569 real patients, start to signed release in a minute."""

from __future__ import annotations

import csv
import shutil
from importlib.resources import as_file, files
from pathlib import Path

import click
import msgspec
import numpy as np
from sklearn.datasets import load_breast_cancer

from cli.output import console, json_option, print_json
from cli.run_view import show_result
from cli.simulate import follow
from secagg.charter import Encoding, Training
from secagg.errors import InputError
from secagg.files import unwritable
from training.draft import CharterChoices
from training.simulation import SimulationSettings, prepare, read_settings
from training.sites import DataSource
from training.task import load_task_file

HOSPITALS = ("aachen", "bergen", "coimbra", "dublin", "espoo", "florence", "ghent", "heidelberg")
_DROP_OUTS = ("coimbra:4", "ghent:7:reveal")
_ROUNDS = 12
# What share of all benign and of all malignant records each hospital has.
_SHARES = (
    np.array([0.19, 0.18, 0.16, 0.14, 0.12, 0.10, 0.07, 0.04]),
    np.array([0.03, 0.04, 0.06, 0.09, 0.13, 0.17, 0.22, 0.26]),
)


@click.command()
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), default="runs/demo", show_default=True)
@click.option("--dp", "privacy", type=click.Choice(["local", "none"]), default="local", show_default=True)
@click.option("--epsilon", type=float, default=8.0, show_default=True)
@click.option("--hospitals-at", type=click.Path(path_type=Path, file_okay=False), help="Hospitals of an earlier demo.")
@click.option("--force", is_flag=True, help="Replace an earlier demo in the same folder.")
@json_option
def demo(out: Path, privacy: str, epsilon: float, hospitals_at: Path | None, force: bool, as_json: bool) -> None:
    """A consortium on this machine: 8 hospitals, 569 real patients, two drop-outs, a signed model.

    The data is the Wisconsin breast cancer set that scikit-learn brings, dealt out to eight invented hospitals.

    \b
    Examples:
      secagg demo
      secagg demo --dp none --out runs/without-dp
      secagg demo --out runs/again --hospitals-at runs/demo/hospitals     (their budgets are spent: refused)
    """
    _make_room(out, force)
    if not as_json:
        _introduce(privacy, epsilon)
    write_demo(out, privacy, epsilon, hospitals_at)
    result = follow(out)
    print_json(result) if as_json else show_result(result)


def write_demo(out: Path, privacy: str, epsilon: float, hospitals_at: Path | None) -> None:
    """Lay out the demo: the records beside ``out``, everything else in it.

    Raises:
        InputError: ``unwritable``, ``folder-not-empty``.
    """
    data = _data_folder(out)
    try:
        data.mkdir(parents=True, exist_ok=True)
        _write_data(data)
    except OSError as error:
        raise unwritable(data, error) from error
    settings = _settings(data, privacy, epsilon)
    kept = str(hospitals_at.absolute()) if hospitals_at else None
    prepare(out, msgspec.structs.replace(settings, hospitals_at=kept))


def _data_folder(out: Path) -> Path:
    return out.with_name(f"{out.name}-data")


def _make_room(out: Path, force: bool) -> None:
    if not out.exists():
        return
    if not force:
        raise InputError(
            "folder-not-empty",
            f"{out} exists already.",
            culprit=str(out),
            remedy="Replace it with --force, or choose another folder with --out.",
        )
    read_settings(out)  # Only what a demo wrote is ever removed.
    shutil.rmtree(out)


def _introduce(privacy: str, epsilon: float) -> None:
    guarantee = f"Every hospital adds noise for epsilon {epsilon:g}." if privacy == "local" else "No noise is added."
    console.print(
        f"Eight hospitals train one model on 569 patients. {guarantee}\n"
        "Their patients differ: the first hospital sees few malignant masses, the last few benign ones.\n"
        "Each masks its update; the coordinator adds what it cannot read.\n"
        "coimbra is cut off in round 4 before it answers, ghent in round 7 right after.\n"
    )


def _write_data(folder: Path) -> None:
    loaded = load_breast_cancer()
    header = [*(str(name) for name in loaded.feature_names), "malignant"]
    # In scikit-learn's coding 0 is malignant.
    rows = np.column_stack([loaded.data, 1 - loaded.target])
    for name, part in zip(HOSPITALS, _deal_out(rows[:, -1]), strict=True):
        with (folder / f"{name}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(header)
            writer.writerows(rows[part].tolist())


def _deal_out(malignant: np.ndarray) -> list[np.ndarray]:
    """Rows of each hospital: equally many, but from almost none malignant at the first to most at the last."""
    generator = np.random.default_rng(0)
    classes = [generator.permutation(np.flatnonzero(malignant == value)) for value in (0, 1)]
    cuts = [
        np.round(np.cumsum(shares)[:-1] * len(rows)).astype(int) for shares, rows in zip(_SHARES, classes, strict=True)
    ]
    parts = zip(*(np.split(rows, cut) for rows, cut in zip(classes, cuts, strict=True)), strict=True)
    return [generator.permutation(np.concatenate(part)) for part in parts]


def _settings(data: Path, privacy: str, epsilon: float) -> SimulationSettings:
    with as_file(files("cli") / "demo_task.toml") as path:
        spec = load_task_file(path)
    training = Training(rounds=_ROUNDS, local_steps=5, batch_size=16, learning_rate=2.0, weighting="uniform")
    choices = CharterChoices(
        name="demo",
        training=training,
        encoding=Encoding(update_norm=4.0, max_weight=1),
        privacy="local" if privacy == "local" else "none",
        epsilon=epsilon,
        sampling_rate=0.25,
        epoch_rounds=6,
    )
    return SimulationSettings(
        task_kind=spec.kind,
        task_settings=spec.settings_json().decode(),
        source=DataSource(paths=tuple(str((data / f"{name}.csv").absolute()) for name in HOSPITALS)),
        choices=choices,
        drop_outs=_DROP_OUTS,
        device="cpu",
    )
