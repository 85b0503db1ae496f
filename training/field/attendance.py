"""A hospital that takes part in a job: it answers, and writes down how it is doing.

Knows the hospital, its status and its log. Knows nothing of who carries the messages.
"""

from __future__ import annotations

import logging
import time

from secagg.charter import VerifiedCharter
from secagg.errors import SecaggError
from training.clock import write_time
from training.field.site_log import fields_of
from training.field.status import SiteState, SiteStatus, StatusFile
from training.hospital import Hospital

# A step may take milliseconds; nobody reads a status that often.
_BETWEEN_SECONDS = 1.0


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
        self._alert = 0
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
        """Write down that this job is over."""
        if self._hospital.stopped:
            self._tell(SiteState.STOPPED)
        else:
            self._tell(SiteState.RELEASED if self._hospital.is_released else SiteState.WAITING)

    def _tell(self, state: SiteState) -> None:
        if state is self._state and time.monotonic() - self._written < _BETWEEN_SECONDS:
            return
        if state is not self._state:
            self._state, self._since = state, write_time()
            self._logger.info(state, extra={"fields": {"steps": self._hospital.state.steps}})
        hospital, stopped = self._hospital, self._hospital.stopped
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
            steps=hospital.state.steps,
            steps_due=self._charter.charter.training.rounds,
            epsilon=hospital.epsilon,
            budget=use,
            reason=stopped.reason if stopped else None,
            message=stopped.message if stopped else None,
            remedy=stopped.remedy if stopped else None,
        )
        try:
            self._status.write(status)
            self._written = time.monotonic()
        except SecaggError as error:
            # A full disk is the ledger's and the latch's to refuse for; a status is no reason to fall silent.
            self._logger.error("the status cannot be written", extra=fields_of(error))
