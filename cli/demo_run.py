"""What `secagg demo` does around its simulation: settings, the hospitals' records, room in the folder, the report."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.resources import as_file, files
from pathlib import Path
from typing import Literal

from cli.audit_report import write_report
from cli.demo_data import HOSPITALS, hospital_files
from cli.output import console
from cli.report_page import page_names
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
from training.run_folder import RunFolder
from training.run_lock import alone, is_running
from training.simulation import SimulationResult
from training.simulation_folder import SimulationSettings, read_settings
from training.sites import DataSource
from training.task import load_task_file

_CUT_OFF_BEFORE = "coimbra:4"
_CUT_OFF_AFTER = "ghent:7:reveal"
_ROUNDS = 12
_REPORT = "report.html"


def report_on(result: SimulationResult) -> Path:
    """What a privacy officer is told, from what every hospital would show the others."""
    members = result.charter.charter.members
    places = [result.hospitals / member.name for member in members]
    folder = RunFolder(result.folder)
    sources = Sources(folder.release, folder.coordinator / TRANSCRIPT)
    page, beside = page_names(result.folder / _REPORT)
    with alone(result.folder):
        sites = read_sites(places, result.charter, sources.release)
        records = gather_records(result.charter, sites, sources)
        write_report(make_document(result.charter, records), page, beside)
    return page


def _tables_of(out: Path) -> tuple[Path, ...]:
    whole = out.absolute()
    return tuple(whole.with_name(f"{whole.name}-data") / f"{name}.csv" for name in HOSPITALS)


@contextmanager
def room_for(out: Path, force: bool) -> Iterator[None]:
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
    _require_ended(out)
    aside = out.absolute().with_name(f".{out.absolute().name}.replaced")
    with suppress(OSError):
        _discard(aside)
    try:
        out.rename(aside)
    except OSError as error:
        raise unwritable(out, error) from error
    try:
        yield
    finally:
        # What became of the new one decides: refused before it began, it left nothing, and the old one comes back.
        if not out.exists():
            aside.rename(out)
        else:
            _discard(aside)


def _discard(aside: Path) -> None:
    if aside.is_symlink():
        # What it leads to is somebody's to keep.
        aside.unlink()
    else:
        shutil.rmtree(aside)


def _require_demo(out: Path) -> None:
    """Only what a demo wrote is ever removed: no other run, whose keys and ledgers would be lost, and no other file."""
    try:
        tables = read_settings(out).source.paths
    except InputError:
        tables = ()
    own = RunFolder(out).entries | {page.name for page in page_names(out / _REPORT)}
    strange = {entry.name for entry in out.iterdir()} - own
    if strange or tables != tuple(map(str, _tables_of(out))):
        raise InputError(
            "not-a-demo",
            f"{out} holds something other than an earlier demo, and is left as it is.",
            culprit=str(out),
            remedy="Choose another folder with --out.",
        )


def _require_ended(out: Path) -> None:
    """Not one that is under way: it would write on into the folder of the new one."""
    if is_running(out):
        raise InputError(
            "state-in-use",
            f"The demo in {out} is running.",
            culprit=str(out),
            remedy="Wait until it has ended, or stop it; or choose another folder with --out.",
        )


def introduce(privacy: str, epsilon: float, scheme: Scheme) -> None:
    """Say what is going to happen."""
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
def records_beside(out: Path) -> Iterator[None]:
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
        if not RunFolder(out).settings.exists():
            _remove(written)


def _remove(files: list[Path]) -> None:
    for path in files:
        path.unlink()
    if files and not any(files[0].parent.iterdir()):
        files[0].parent.rmdir()


def demo_settings(out: Path, privacy: Literal["local", "none"], epsilon: float, scheme: Scheme) -> SimulationSettings:
    """What the demo simulates, in ``out``."""
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
