"""Whether a kit is as hard as it should be: read back, and for a hospital tried with what a hostile coordinator sends.

What needs NVFlare runs in a process of its own (`trial`): NVFlare keeps its policy once for a process, and prints.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from secagg.errors import InputError, SecaggError
from training.engines.nvflare.extra import require_nvflare
from training.engines.nvflare.kit import Kit, Role
from training.engines.nvflare.kit_check import KitCheck
from training.engines.nvflare.process import environment

_TRIAL: Final = "training.engines.nvflare.trial"
_SECONDS: Final = 300.0
_OTHERS: Final = 0o077


def check_kit(kit: Kit) -> list[KitCheck]:
    """Every point of a hospital's kit. The kit is only read, and nothing is sent.

    Raises:
        InputError: ``extra-missing``; ``not-a-hospital`` for the coordinator's kits, on which no hospital relies.
        SecaggError: ``trial-failed`` if NVFlare could not set the site up at all.
    """
    require_nvflare()
    if kit.role is not Role.HOSPITAL:
        raise InputError(
            "not-a-hospital",
            f"The kit in {kit.folder} is the coordinator's {kit.role.value} kit.",
            culprit=str(kit.folder),
            remedy="Give a hospital's folder.",
        )
    return [*certificate_checks(kit, datetime.now(UTC)), _permissions(kit), *_tried(kit)]


def certificate_checks(kit: Kit, now: datetime) -> Iterator[KitCheck]:
    """Whether the kit's certificates are valid at this time, and until when."""
    remedy = "Have new kits made by the same certificate authority; see docs/running-a-site.md."
    if now < kit.valid_from:
        found = f"valid from {kit.valid_from:%Y-%m-%d %H:%M} UTC, and it is {now:%Y-%m-%d %H:%M} by this clock"
        yield KitCheck("the certificate is valid", good=False, found=found, remedy="Set this machine's clock.")
    else:
        found = f"until {kit.expires:%Y-%m-%d}, {(kit.expires - now).days} days"
        good = now < kit.expires
        yield KitCheck("the certificate is valid", good=good, found=found, remedy="" if good else remedy)
    good = now < kit.authority_expires
    found = f"until {kit.authority_expires:%Y-%m-%d}"
    yield KitCheck("the root certificate is valid", good=good, found=found, remedy="" if good else remedy)


def _permissions(kit: Kit) -> KitCheck:
    point = "only this account can read the kit"
    paths = [kit.folder, *kit.startup.rglob("*"), kit.local, *kit.local.rglob("*"), kit.startup]
    open_ones = [path for path in paths if path.stat().st_mode & _OTHERS]
    if not open_ones:
        return KitCheck(point, good=True, found="0700 and 0600")
    found = f"others can read {open_ones[0]}" + (f" and {len(open_ones) - 1} more" if len(open_ones) > 1 else "")
    return KitCheck(point, good=False, found=found, remedy=f"Run `chmod -R go= {kit.folder}`.")


def _tried(kit: Kit) -> list[KitCheck]:
    with tempfile.TemporaryDirectory() as temporary:
        result = Path(temporary) / "checks.json"
        command = [sys.executable, "-P", "-m", _TRIAL, str(kit.folder.resolve()), str(result)]
        try:
            ran = subprocess.run(  # noqa: S603 - our own module, and a folder as an argument
                command, env=dict(environment(kit)), capture_output=True, timeout=_SECONDS, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise _failed(kit, f"it took more than {_SECONDS:.0f} seconds") from error
        if ran.returncode or not result.exists():
            lines = ran.stderr.decode(errors="replace").strip().splitlines()
            raise _failed(kit, lines[-1] if lines else f"exit code {ran.returncode}")
        return msgspec.json.decode(result.read_bytes(), type=list[KitCheck])


def _failed(kit: Kit, why: str) -> SecaggError:
    return SecaggError(
        "trial-failed",
        f"NVFlare cannot set up the site of {kit.folder}: {why}.",
        culprit=str(kit.folder),
        remedy="Provision the kits again with `secagg charter provision`, and copy this one whole.",
    )
