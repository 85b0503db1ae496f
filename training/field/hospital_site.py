"""A hospital's folder in the field, and what it takes to answer for it.

Knows where the charter, the settings and the start-up kit lie beside the hospital's own state. Takes nothing from
whoever begins a job but the digest of a charter, to find out that they mean another one.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from secagg.charter import VerifiedCharter
from secagg.charter.folder import read_verified
from secagg.errors import InputError, RefusedError, SecaggError
from secagg.identity import Identity
from secagg.passphrase import read_passphrase
from secagg.policy import check_charter, load_policy
from training.devices import cores_for, resolve_device
from training.draft import task_of
from training.field.attendance import Attendance
from training.field.serials import take_serial
from training.field.settings import HospitalSettings, read_settings
from training.field.site_log import fields_of, site_log
from training.field.status import StatusFile, not_taking_part
from training.hospital import Hospital, HospitalSetup
from training.hospital_folder import HospitalFolder


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

    def member_name(self, charter: VerifiedCharter) -> str:
        """What the charter calls this hospital.

        Raises:
            InputError: ``not-a-member``, or why the identity cannot be loaded.
        """
        key = self._identity().public_key
        for member in charter.charter.members:
            if member.public_key == key:
                return member.name
        raise InputError(
            "not-a-member",
            f"The identity in {self.folder.identity} is no member of the charter in {self.charter}.",
            culprit=str(self.folder.identity),
            remedy="Give this site the identity whose public key the charter names.",
        )

    @contextmanager
    def attend(self, charter_digest: str, serial: int) -> Iterator[Attendance]:
        """Open this hospital for one job.

        Args:
            charter_digest: hex, of the charter that the job is for.

        Raises:
            RefusedError: ``another-charter``, ``job-replayed``, or whatever this site's policy or budget says.
            SecaggError: whatever a hospital refuses to open for.
        """
        with ExitStack() as opened:
            logger = opened.enter_context(site_log(self.log))
            try:
                charter = self._accept(charter_digest, serial)
                opened.enter_context(cores_for(charter.charter.model.parameters))
                hospital = opened.enter_context(closing(self._hospital(charter, logger)))
            except SecaggError as error:
                logger.error("takes no part", extra=fields_of(error))
                self.status.write(not_taking_part(error, charter_digest))
                raise
            yield opened.enter_context(closing(Attendance(hospital, charter, self.status, logger)))

    def _accept(self, charter_digest: str, serial: int) -> VerifiedCharter:
        charter = read_verified(self.charter)
        if charter.digest.hex() != charter_digest:
            raise RefusedError(
                "another-charter",
                "A job is for another charter than the one this site takes part in.",
                culprit="the coordinator",
                remedy=f"Agree on one: `secagg charter show {self.charter}` shows this site's.",
            )
        take_serial(self.serials, charter_digest, serial)
        return charter

    def _hospital(self, charter: VerifiedCharter, logger: logging.Logger) -> Hospital:
        settings = read_settings(self.settings, HospitalSettings)
        # Before the task is built: it may be code of somebody else's.
        check_charter(charter.charter, load_policy(self.folder.policy))
        task = task_of(charter.charter)
        return Hospital(
            HospitalSetup(
                charter,
                task,
                task.read(self.path / settings.data),
                self.folder,
                resolve_device(settings.device),
                None if settings.seed is None else np.random.default_rng(settings.seed),
                self._passphrase(settings),
                lambda error: logger.warning("refused", extra=fields_of(error)),
            )
        )

    def _identity(self) -> Identity:
        return Identity.load(self.folder.identity, self._passphrase(read_settings(self.settings, HospitalSettings)))

    def _passphrase(self, settings: HospitalSettings) -> bytes | None:
        return read_passphrase(self.path / settings.passphrase_file if settings.passphrase_file else None)
