"""What it takes to answer for a hospital: its site's folder opened for one job, and closed after it.

Opens what a hospital needs, hands it each message, and writes down how it is doing. Takes nothing from whoever begins a
job but the digest of a charter, to find out that they mean another one. Knows nothing of who carries the messages.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from typing import Final

import numpy as np

from secagg.charter import VerifiedCharter
from secagg.charter.cautions import Caution
from secagg.charter.folder import read_verified
from secagg.errors import InputError, RefusedError, SecaggError
from secagg.files import lock
from secagg.policy import check_charter, load_policy
from training.clock import write_time
from training.devices import cores_for, resolve_device
from training.draft import task_of
from training.field.hospital_site import HospitalSite
from training.field.serials import take_serial
from training.field.settings import HospitalSettings, read_settings
from training.field.site_log import fields_of, site_log
from training.field.status import SiteState, SiteStatus, StatusFile, not_taking_part, why
from training.hospital import Hospital
from training.hospital_setup import HospitalSetup
from training.scaling import constant_columns

# A step may take milliseconds; nobody reads a status that often. What was spent is told at once: nobody may come back
# to tell it after the last message.
_BETWEEN_SECONDS: Final = 1.0


class Attendance:
    """Answers for a hospital as long as a job lasts."""

    def __init__(
        self, hospital: Hospital, charter: VerifiedCharter, status: StatusFile, logger: logging.Logger
    ) -> None:
        self._hospital = hospital
        self._charter = charter
        self._status = status
        self._logger = logger
        self._state = SiteState.WAITING
        self._since = write_time()
        self._written = 0.0
        self._told = 0
        self._alert = 0
        self._constant: tuple[str, ...] = ()
        self._tell(SiteState.TRAINING)

    def receive(self, message: bytes) -> list[bytes]:
        """Take one message, give the replies; see `Hospital.receive`."""
        try:
            replies = self._hospital.receive(message)
        except SecaggError:
            raise
        except Exception:
            # Whoever carries the answer must not log it: only here are its kind and place kept, and not its text.
            self._logger.exception("could not answer")
            raise
        # That the release is here is told when the job is over: the coordinator still waits for this answer.
        self._tell(SiteState.STOPPED if self._hospital.stopped else SiteState.TRAINING)
        return replies

    def note(self, error: SecaggError) -> None:
        """Log an error that kept a message from being answered."""
        self._logger.error("could not answer", extra=fields_of(error))

    def close(self) -> None:
        """Write down that this job is over: the last one, if the last that a coordinator gives has come."""
        if self._hospital.stopped:
            self._tell(SiteState.STOPPED)
        else:
            # With the release alone it stays a while: the coordinator's process of the job may have been killed, and
            # NVFlare ends the hospital's then as it does in order.
            self._tell(SiteState.RELEASED if self._hospital.has_checkpoints else SiteState.WAITING)

    def _tell(self, state: SiteState) -> None:
        charged = self._hospital.rounds_charged
        is_news = state is not self._state or charged != self._told
        if not is_news and time.monotonic() - self._written < _BETWEEN_SECONDS:
            return
        if state is not self._state:
            self._state, self._since = state, write_time()
            self._logger.info(state, extra={"fields": {"steps": self._hospital.state.sums}})
        hospital = self._hospital
        if hospital.constant_columns != self._constant:
            self._constant = hospital.constant_columns
            for caution in constant_columns(self._constant):
                _warn(self._logger, "statistics", caution)
        use = hospital.budget_use
        if use and use.alert > self._alert:
            self._alert = use.alert
            self._logger.warning("budget alert", extra={"fields": {"percent": use.alert, "message": use.told()}})
        status = SiteStatus(
            state=state,
            since=self._since,
            updated=write_time(),
            charter=self._charter.digest.hex(),
            name=hospital.name,
            steps=hospital.state.sums,
            steps_due=self._charter.charter.training.rounds,
            epsilon=hospital.epsilon,
            budget=use,
            **why(hospital.stopped or hospital.rolled_back),
        )
        try:
            self._status.write(status)
            self._written, self._told = time.monotonic(), charged
        except SecaggError as error:
            # A full disk is the ledger's and the latch's to refuse for; a status is no reason to fall silent.
            self._logger.error("the status cannot be written", extra=fields_of(error))


@contextmanager
def attend(site: HospitalSite, charter_digest: str, serial: int) -> Iterator[Attendance]:
    """Open a hospital for one job.

    Args:
        charter_digest: hex, of the charter that the job is for.

    Raises:
        InputError: ``state-in-use``, if another job is going on here; ``unwritable``.
        RefusedError: ``another-charter``, ``job-replayed``, or whatever this site's policy or budget says.
        SecaggError: whatever a hospital refuses to open for.
    """
    with ExitStack() as opened:
        # Told is the site's own charter: what the job says may be anything that JSON can hold.
        own = ""
        try:
            # First of all: a coordinator may begin as many jobs as it likes, and each would open all this.
            opened.callback(os.close, lock(site.attending))
            logger = opened.enter_context(site_log(site.log))
        except InputError as error:
            # Nothing else here says why. Of a site that is in another job the status is that job's.
            if error.reason != "state-in-use":
                _tell_why(site, error, own)
            raise
        try:
            charter = read_verified(site.charter)
            own = charter.digest.hex()
            _accept(site, charter, charter_digest, serial)
            opened.enter_context(cores_for(charter.charter.model.parameters))
            hospital = opened.enter_context(closing(_hospital(site, charter, logger)))
        except SecaggError as error:
            logger.error("cannot take part", extra=fields_of(error))
            _tell_why(site, error, own)
            raise
        except Exception as error:
            logger.exception("cannot take part")
            _tell_why(site, _unexpected(site, error), own)
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


def _tell_why(site: HospitalSite, error: SecaggError, own: str) -> None:
    """Write down why a site takes no part; ``own`` is its charter, hex, if that could be read."""
    before = site.status.known()
    site.status.write(not_taking_part(error, own or (before.charter if before else ""), before))


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
    records = task.read(site.path / settings.data)
    for caution in records.cautions:
        _warn(logger, "caution", caution)
    return Hospital(
        HospitalSetup(
            charter,
            task,
            records,
            site.folder,
            resolve_device(settings.device),
            None if settings.seed is None else np.random.default_rng(settings.seed),
            site.passphrase(settings),
            on_refusal=lambda error: logger.warning("refused", extra=fields_of(error)),
            on_caution=partial(_warn, logger, "caution"),
        )
    )


def _warn(logger: logging.Logger, event: str, caution: Caution) -> None:
    told = {"reason": caution.code, "message": caution.message, "remedy": caution.remedy or None}
    logger.warning(event, extra={"fields": {key: value for key, value in told.items() if value is not None}})
