"""`secagg doctor`: can this machine do the work, and how fast? The longer checks are in `cli.doctor_*`."""

from __future__ import annotations

import os
import platform
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import click
import numpy as np
from rich.table import Column, Table

from cli.doctor_schemes import charter_checks, scheme_checks
from cli.doctor_storage import storage_check
from cli.machine_check import MachineCheck
from cli.output import console, json_option, print_json, unmarked, warn
from cli.paths import FILE, FOLDER
from secagg.charter.cautions import cautions
from secagg.charter.folder import read_charter
from secagg.files import require_there
from secagg.masking.keystream import SignedKey, add_masks
from secagg.policy import Policy, load_policy

_PACKAGES = ("torch", "opacus", "cryptography", "numpy", "msgspec", "safetensors", "tenseal", "nvflare")
_OPTIONAL = frozenset({"nvflare"})
_SLOW_GIGABYTES = 1.0
_ELEMENTS = 4_000_000


@click.command()
@click.option("--folder", type=FOLDER, help="Folder in which this site would keep its state.")
@click.option(
    "--charter",
    "charter_folder",
    type=FOLDER,
    help="Folder of the charter that this machine is to train under; without it, every scheme is tried.",
)
@click.option(
    "--policy",
    type=FILE,
    help="This site's policy. The code of a custom task is run, to build the charter's model, only if it lists the "
    "task.",
)
@json_option
@click.pass_context
def doctor(
    context: click.Context, folder: Path | None, charter_folder: Path | None, policy: Path | None, as_json: bool
) -> None:
    """Check this machine: Python, packages, device, durable storage, speed of masking and encryption, schemes.

    \b
    Examples:
      secagg doctor --folder /var/lib/secagg
      secagg doctor --charter charter --policy policy.toml
    """
    from cli.doctor_model import model_check

    charter = read_charter(charter_folder) if charter_folder else None
    allowed = _given(policy).allowed_tasks if policy else Policy().allowed_tasks
    checks = [_python(), *_packages(), _device(), storage_check(folder), _cipher()]
    checks += [model_check(charter, allowed), *charter_checks(charter)] if charter else scheme_checks()
    if as_json:
        print_json(checks)
    else:
        _print(checks)
        warn(cautions(charter) if charter else ())
    context.exit(0 if all(check.good for check in checks) else 1)


def _given(path: Path) -> Policy:
    require_there(path)
    return load_policy(path)


def _print(checks: list[MachineCheck]) -> None:
    table = Table("", "", Column(overflow="fold"), show_header=False)
    for check in checks:
        table.add_row(check.badge, check.what, unmarked(check.found))
    console.print(table)


def _python() -> MachineCheck:
    return MachineCheck("Python", f"{platform.python_version()} on {platform.machine()}", sys.version_info >= (3, 11))


def _packages() -> list[MachineCheck]:
    checks = []
    for name in _PACKAGES:
        try:
            checks.append(MachineCheck(name, version(name), good=True))
        except PackageNotFoundError:
            optional = name in _OPTIONAL
            checks.append(MachineCheck(name, "not installed" + (" (optional)" if optional else ""), good=optional))
    return checks


def _device() -> MachineCheck:
    from training.devices import resolve_device

    return MachineCheck("device", f"{resolve_device('auto')}, {os.cpu_count()} cores", good=True)


def _cipher() -> MachineCheck:
    vector = np.zeros(_ELEMENTS, np.uint32)
    # The fastest of a few: the first is slowed by memory that is not there yet, any by what else runs here.
    seconds = min(_seconds_to_mask(vector) for _ in range(3))
    rate = vector.nbytes / seconds / 1e9
    what = "hardware AES" if rate > _SLOW_GIGABYTES else "slow: this processor seems to lack AES instructions"
    return MachineCheck("mask expansion", f"{rate:.1f} GB/s, {what}", good=True)


def _seconds_to_mask(vector: np.ndarray) -> float:
    started = time.perf_counter()
    add_masks(vector, [SignedKey(os.urandom(32), 1)])
    return time.perf_counter() - started
