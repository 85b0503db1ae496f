"""A hospital's folder in the field: where the charter, the settings and the kit lie beside the hospital's own state.

Read by whoever watches over the site as well as by who answers for it; see `attendance`.
"""

from __future__ import annotations

import os
import shlex
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from secagg.charter import VerifiedCharter
from secagg.charter.folder import read_charter, read_verified
from secagg.errors import InputError
from secagg.identity import Identity
from secagg.passphrase import read_passphrase
from training.field.settings import HospitalSettings, read_settings
from training.field.status import StatusFile
from training.hospital_folder import HospitalFolder
from training.records_path import split_of
from training.tasks.spec import IMAGES, TABULAR

if TYPE_CHECKING:
    from training.field.attendance import Attendance

RENEWAL_CUT_OFF: Final = "renewal-cut-off"


@dataclass(frozen=True)
class HospitalSite:
    """One hospital in the field. Its folder holds all of it; only what the protocol sends leaves it."""

    path: Path

    @property
    def folder(self) -> HospitalFolder:
        """Its keys, policy, latch, ledger, log, checkpoints and releases."""
        return HospitalFolder(self.path)

    @property
    def charter(self) -> Path:
        """The folder of the charter that it takes part in, with all signatures."""
        return self.path / "charter"

    @property
    def settings(self) -> Path:
        """What it trains on."""
        return self.path / "hospital.toml"

    @property
    def kit(self) -> Path:
        """The start-up kit of what carries the bytes."""
        return self.folder.kit

    @property
    def attending(self) -> Path:
        """What is locked as long as a job lasts that it takes part in."""
        return self.path / "attending"

    @property
    def serials(self) -> Path:
        """Which jobs it has taken."""
        return self.path / "jobs.json"

    @property
    def status(self) -> StatusFile:
        """How it is doing."""
        return StatusFile(self.path / "status.json")

    @property
    def log(self) -> Path:
        """What it did and refused, as JSON lines."""
        return self.path / "log" / "training.jsonl"

    @property
    def release(self) -> Path:
        """Where the release of its charter is, once there is one."""
        return self.folder.release(read_verified(self.charter).digest)

    def require_laid_out(self) -> None:
        """Refuse a folder that `secagg hospital init` has not made.

        Raises:
            InputError: ``no-site``.
        """
        if not self.settings.exists():
            raise InputError(
                "no-site",
                f"{self.path} is not a hospital's site.",
                culprit=str(self.path),
                remedy="Give the folder that `secagg hospital init` made.",
            )

    def require_whole(self) -> None:
        """Refuse a site that a renewal which was cut off has left without its kit or its charter.

        Raises:
            InputError: ``renewal-cut-off``.
        """
        for folder in (self.kit, self.charter):
            if set_aside(folder).exists() and not folder.exists():
                raise InputError(
                    RENEWAL_CUT_OFF,
                    f"{folder} is away: the last `secagg hospital renew` of this site was cut off.",
                    culprit=str(folder),
                    remedy=f"Repeat it: secagg hospital renew {shlex.quote(str(self.path))} --charter CHARTER",
                )

    def member_name(self, charter: VerifiedCharter) -> str:
        """What the charter calls this hospital.

        Raises:
            InputError: ``unknown-member``, or why the identity cannot be loaded.
        """
        number = charter.charter.number_of_key(self.load_identity().public_key, self.folder.identity)
        return charter.charter.member(number).name

    def records_missing(self) -> InputError | None:
        """Why no job can open this site as it is now, where nothing is at the path of its records; None otherwise.

        Of a task of one's own it is never said: what that reads need be no file.

        Raises:
            InputError: why settings or charter cannot be read.
        """
        if self.charter.exists() and read_charter(self.charter).task.kind not in (TABULAR, IMAGES):
            return None
        path, _ = split_of(self.path / read_settings(self.settings, HospitalSettings).data)
        # False also where this account may not look there.
        if os.path.exists(path):  # noqa: PTH110
            return None
        return InputError(
            "records-missing",
            f"Nothing can be found at {path}, where {self.settings} says that this site's records are.",
            culprit=str(path),
            remedy="Put them there, mount what they are on, or correct the line `data`: without them it takes no part.",
        )

    def attend(self, charter_digest: str, serial: int) -> AbstractContextManager[Attendance]:
        """Open this hospital for one job; see `attendance.attend`."""
        # Torch and all that trains: seconds and hundreds of megabytes, of no use to a site that waits.
        from training.field.attendance import attend

        return attend(self, charter_digest, serial)

    def passphrase(self, settings: HospitalSettings) -> bytes | None:
        """What opens the identity file, if it is encrypted."""
        return read_passphrase(self.path / settings.passphrase_file if settings.passphrase_file else None)

    def load_identity(self, passphrase_file: Path | None = None) -> Identity:
        """This hospital's signing key.

        Args:
            passphrase_file: in place of the one that the settings name, which may be there only while the site runs.

        Raises:
            InputError: why the settings or the identity cannot be loaded.
        """
        if passphrase_file:
            return Identity.load(self.folder.identity, read_passphrase(passphrase_file))
        return Identity.load(self.folder.identity, self.passphrase(read_settings(self.settings, HospitalSettings)))


def set_aside(folder: Path) -> Path:
    """Where a renewal has what was in ``folder`` until the new one is in its place."""
    return folder.with_name(f".{folder.name}.old")
