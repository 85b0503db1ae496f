"""`secagg demo`: eight hospitals, 569 real patients, start to signed release in a minute."""

from __future__ import annotations

import csv
import io
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.resources import as_file, files
from pathlib import Path
from typing import Literal

import click
import msgspec
import numpy as np
from sklearn.datasets import load_breast_cancer

from cli.audit_report import write_report
from cli.effect import require_effect
from cli.options import CHARTER_USES, POSITIVE
from cli.output import console, json_option, print_json
from cli.report_page import page_names
from cli.run_view import show_result
from cli.schemes import scheme_option
from cli.simulate import require_beside, start
from secagg.charter import Encoding, Training
from secagg.charter.cautions import SHARED_KEY_SCHEMES
from secagg.charter.sections import Scheme
from secagg.errors import InputError
from secagg.files import unwritable, write_atomically
from training.choices import CharterChoices
from training.coordinator import TRANSCRIPT
from training.reporting.document import make_document
from training.reporting.records import Sources, gather_records
from training.reporting.sites import read_sites
from training.simulation import SimulationResult, SimulationSettings, read_settings
from training.sites import DataSource
from training.task import load_task_file

HOSPITALS = ("aachen", "bergen", "coimbra", "dublin", "espoo", "florence", "ghent", "heidelberg")
_CUT_OFF_BEFORE = "coimbra:4"
_CUT_OFF_AFTER = "ghent:7:reveal"
_ROUNDS = 12
# What a run's folder holds.
_ENTRIES = frozenset(
    {
        "charter",
        "coordinator",
        "history.jsonl",
        "hospitals",
        "release",
        "report.html",
        "report.json",
        "running.lock",
        "simulation.json",
    }
)
# What share of all benign and of all malignant records each hospital has.
_SHARES = (
    np.array([0.19, 0.18, 0.16, 0.14, 0.12, 0.10, 0.07, 0.04]),
    np.array([0.03, 0.04, 0.06, 0.09, 0.13, 0.17, 0.22, 0.26]),
)


@click.command()
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default="runs/demo",
    show_default=True,
    help="Folder of the run; the hospitals' records are written beside it.",
)
@click.option(
    "--dp",
    "privacy",
    type=click.Choice(["local", "none"]),
    default="local",
    show_default=True,
    help="Differential privacy.",
)
@click.option("--epsilon", type=POSITIVE, default=8.0, show_default=True, help="Privacy budget of the run.")
@scheme_option
@click.option(
    "--hospitals-at",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of an earlier demo's hospitals, to train with them again.",
)
@click.option("--force", is_flag=True, help="Replace an earlier demo in the same folder.")
@json_option
@click.pass_context
def demo(
    context: click.Context,
    out: Path,
    privacy: Literal["local", "none"],
    epsilon: float,
    scheme: Scheme,
    hospitals_at: Path | None,
    force: bool,
    as_json: bool,
) -> None:
    """Simulate a consortium on this machine: 8 hospitals, 569 real patients, two drop-outs, a signed model, a report.

    The data are the Wisconsin breast cancer set that comes with scikit-learn, divided among eight invented hospitals.

    \b
    Examples:
      secagg demo
      secagg demo --dp none --out runs/without-dp
      secagg demo --scheme double-lock --out runs/double-lock     # the coordinator does not see the sum either
      secagg demo --out runs/again --hospitals-at runs/demo/hospitals     # refused: their budgets are spent
    """
    require_effect(context, CHARTER_USES)
    require_beside(hospitals_at, out)
    kept = str(hospitals_at.absolute()) if hospitals_at else None
    settings = msgspec.structs.replace(_settings(out, privacy, epsilon, scheme), hospitals_at=kept)
    with _room_for(out, force), _records_beside(out):
        if not as_json:
            _introduce(privacy, epsilon, scheme)
        result = start(out, settings, as_json)
        report = _report(result)
    print_json(result) if as_json else show_result(result, report)


def _report(result: SimulationResult) -> Path:
    """What a privacy officer is told, from what every hospital would show the others."""
    members = result.charter.charter.members
    sites = read_sites([result.hospitals / member.name for member in members], result.charter)
    sources = Sources(result.folder / "release", result.folder / "coordinator" / TRANSCRIPT)
    page, beside = page_names(result.folder / "report.html")
    write_report(make_document(result.charter, gather_records(result.charter, sites, sources)), page, beside)
    return page


def _tables_of(out: Path) -> tuple[Path, ...]:
    whole = out.absolute()
    return tuple(whole.with_name(f"{whole.name}-data") / f"{name}.csv" for name in HOSPITALS)


@contextmanager
def _room_for(out: Path, force: bool) -> Iterator[None]:
    """Set an earlier demo in ``out`` aside, and remove it once there is another in its place."""
    if not out.exists() or not any(out.iterdir()):
        yield
        return
    if not force:
        raise InputError(
            "folder-not-empty",
            f"{out} exists and is not empty.",
            culprit=str(out),
            remedy="Replace it with --force, or choose another folder with --out.",
        )
    _require_demo(out)
    aside = out.absolute().with_name(f".{out.absolute().name}.replaced")
    shutil.rmtree(aside, ignore_errors=True)
    try:
        out.rename(aside)
    except OSError as error:
        raise unwritable(out, error) from error
    try:
        yield
    finally:
        # What became of the new one decides: refused before it began, it left nothing, and the old one comes back.
        if out.exists():
            shutil.rmtree(aside)
        else:
            aside.rename(out)


def _require_demo(out: Path) -> None:
    """Only what a demo wrote is ever removed: no other run, whose keys and ledgers would be lost, and no other file."""
    try:
        tables = read_settings(out).source.paths
    except InputError:
        tables = ()
    strange = {entry.name for entry in out.iterdir()} - _ENTRIES
    if strange or tables != tuple(map(str, _tables_of(out))):
        raise InputError(
            "not-a-demo",
            f"{out} holds something other than an earlier demo, and is left as it is.",
            culprit=str(out),
            remedy="Choose another folder with --out.",
        )


def _introduce(privacy: str, epsilon: float, scheme: Scheme) -> None:
    noise = f"adds noise for epsilon {epsilon:g}, then " if privacy == "local" else ""
    cut_off = "coimbra is cut off in round 4 before it answers"
    if scheme not in SHARED_KEY_SCHEMES:
        cut_off += ", ghent in round 7 right after"
    console.print(
        "Eight hospitals train one model on 569 patients. The hospitals differ: the\n"
        "first has few malignant cases, the last few benign ones.\n"
        f"Each {noise}{_HIDES[scheme]} its update; the coordinator adds\n"
        "up what it cannot read.\n"
        f"{cut_off}.\n"
    )


_HIDES: Mapping[Scheme, str] = {
    "mask": "masks",
    "double-lock": "masks and encrypts",
    "bfv": "encrypts",
    "ckks": "encrypts",
}


@contextmanager
def _records_beside(out: Path) -> Iterator[None]:
    """Write what the hospitals train on beside ``out``; where no run comes of it, it is removed again."""
    written = []
    try:
        for path, content in zip(_tables_of(out), hospital_files(), strict=True):
            if not path.exists():
                write_atomically(path, content)
                written.append(path)
            elif not path.is_file() or path.read_bytes() != content:
                raise InputError(
                    "exists",
                    f"{path} is where the demo's records should go, holds something else, and is left as it is.",
                    culprit=str(path),
                    remedy="Choose another folder with --out.",
                )
        yield
    finally:
        if not out.exists():
            _remove(written)


def _remove(files: list[Path]) -> None:
    for path in files:
        path.unlink()
    if files and not any(files[0].parent.iterdir()):
        files[0].parent.rmdir()


def hospital_files() -> Iterator[bytes]:
    """Each hospital's file."""
    loaded = load_breast_cancer()
    header = [*(str(name) for name in loaded.feature_names), "malignant"]
    # In scikit-learn's coding 0 is malignant.
    rows = np.column_stack([loaded.data, 1 - loaded.target])
    for part in _deal_out(rows[:, -1]):
        file = io.StringIO(newline="")
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows[part].tolist())
        yield file.getvalue().encode()


def _deal_out(malignant: np.ndarray) -> list[np.ndarray]:
    """Rows of each hospital: equally many, but from almost none malignant at the first to most at the last."""
    generator = np.random.default_rng(0)
    classes = [generator.permutation(np.flatnonzero(malignant == value)) for value in (0, 1)]
    cuts = [
        np.round(np.cumsum(shares)[:-1] * len(rows)).astype(int) for shares, rows in zip(_SHARES, classes, strict=True)
    ]
    parts = zip(*(np.split(rows, cut) for rows, cut in zip(classes, cuts, strict=True)), strict=True)
    return [generator.permutation(np.concatenate(part)) for part in parts]


def _settings(out: Path, privacy: Literal["local", "none"], epsilon: float, scheme: Scheme) -> SimulationSettings:
    with as_file(files("cli") / "demo_task.toml") as path:
        spec = load_task_file(path)
    training = Training(rounds=_ROUNDS, local_steps=5, batch_size=16, learning_rate=2.0, weighting="uniform")
    choices = CharterChoices(
        name="demo",
        training=training,
        scheme=scheme,
        encoding=Encoding(update_norm=4.0, max_weight=1),
        privacy=privacy,
        epsilon=epsilon,
        sampling_rate=0.25,
        epoch_rounds=6,
    )
    return SimulationSettings(
        task_kind=spec.kind,
        task_settings=spec.settings_json().decode(),
        source=DataSource(paths=tuple(map(str, _tables_of(out)))),
        choices=choices,
        # Where updates are only encrypted, nothing is asked of a hospital after its answer.
        drop_outs=(_CUT_OFF_BEFORE,) if scheme in SHARED_KEY_SCHEMES else (_CUT_OFF_BEFORE, _CUT_OFF_AFTER),
        device="cpu",
    )
