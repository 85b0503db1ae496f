"""What it takes to answer for a hospital: its site's folder opened for one job, and closed after it.

Takes nothing from whoever begins a job but the digest of a charter, to find out that they mean another one.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager

import numpy as np

from secagg.charter import VerifiedCharter
from secagg.charter.folder import read_verified
from secagg.errors import RefusedError, SecaggError
from secagg.files import lock
from secagg.policy import check_charter, load_policy
from training.devices import cores_for, resolve_device
from training.draft import task_of
from training.field.attendance import Attendance
from training.field.hospital_site import HospitalSite
from training.field.serials import take_serial
from training.field.settings import HospitalSettings, read_settings
from training.field.site_log import fields_of, site_log
from training.field.status import not_taking_part
from training.hospital import Hospital
from training.hospital_setup import HospitalSetup


@contextmanager
def attend(site: HospitalSite, charter_digest: str, serial: int) -> Iterator[Attendance]:
    """Open a hospital for one job.

    Args:
        charter_digest: hex, of the charter that the job is for.

    Raises:
        InputError: ``state-in-use``, if another job is going on here.
        RefusedError: ``another-charter``, ``job-replayed``, or whatever this site's policy or budget says.
        SecaggError: whatever a hospital refuses to open for.
    """
    with ExitStack() as opened:
        # First of all: a coordinator may begin as many jobs as it likes, and each would open all this.
        opened.callback(os.close, lock(site.path / "attending"))
        logger = opened.enter_context(site_log(site.log))
        # Told is the site's own charter: what the job says may be anything that JSON can hold.
        own = ""
        try:
            charter = read_verified(site.charter)
            own = charter.digest.hex()
            _accept(site, charter, charter_digest, serial)
            opened.enter_context(cores_for(charter.charter.model.parameters))
            hospital = opened.enter_context(closing(_hospital(site, charter, logger)))
        except SecaggError as error:
            logger.error("takes no part", extra=fields_of(error))
            site.status.write(not_taking_part(error, own))
            raise
        except Exception as error:
            logger.exception("takes no part")
            site.status.write(not_taking_part(_unexpected(site, error), own))
            raise
        yield opened.enter_context(closing(Attendance(hospital, charter, site.status, logger)))


def _accept(site: HospitalSite, charter: VerifiedCharter, charter_digest: str, serial: int) -> None:
    if charter.digest.hex() != charter_digest:
        raise RefusedError(
            "another-charter",
            "A job is for another charter than the one this site takes part in.",
            culprit="the coordinator",
            remedy=f"Agree on one: `secagg charter show {site.charter}` shows this site's.",
        )
    take_serial(site.serials, charter_digest, serial)


def _unexpected(site: HospitalSite, error: Exception) -> SecaggError:
    # Its kind and not its text, which may quote a record.
    return SecaggError(
        "internal",
        f"This hospital could not be opened: {type(error).__name__}.",
        remedy=f"{site.log} says where it happened.",
    )


def _hospital(site: HospitalSite, charter: VerifiedCharter, logger: logging.Logger) -> Hospital:
    settings = read_settings(site.settings, HospitalSettings)
    # Before the task is built: it may be code of somebody else's.
    check_charter(charter.charter, load_policy(site.folder.policy))
    task = task_of(charter.charter)
    return Hospital(
        HospitalSetup(
            charter,
            task,
            task.read(site.path / settings.data),
            site.folder,
            resolve_device(settings.device),
            None if settings.seed is None else np.random.default_rng(settings.seed),
            site.passphrase(settings),
            lambda error: logger.warning("refused", extra=fields_of(error)),
        )
    )
