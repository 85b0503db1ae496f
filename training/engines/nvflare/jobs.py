"""Begins jobs at the coordinator's own NVFlare server, through NVFlare's session of a job submitter.

Knows when the server and its sites are there, and what became of a job. Knows nothing of what a job does.
"""

from __future__ import annotations

import io
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

from nvflare.fuel.flare_api.flare_api import Session, new_secure_session

from secagg.errors import InputError, ProtocolError
from training.engines.nvflare.sites import ADMIN, member_number

_CONNECT_SECONDS: Final = 60.0
_POLL_SECONDS: Final = 0.25
_NOT_STARTED: Final = ("SUBMITTED", "APPROVED", "DISPATCHED")
_LOST_SECONDS: Final = 30.0
_STARTING_SECONDS: Final = 60.0
"""NVFlare asks each site three things before a job runs, and waits up to 20 s for each answer. Where too few answer, it
tries again only after minutes, though they may be back at once."""

Answer = TypeVar("Answer")


class Job(Protocol):
    """What can be submitted."""

    def write(self, folder: Path) -> None:
        """Write the job's folder."""


class Jobs:
    """A session with the server.

    Args:
        going: asked again and again while waiting; raises what ends the wait.
        patience: how many seconds the server may leave a question without an answer.
        starting: how many seconds a job may take to start.
    """

    def __init__(
        self,
        session: Session,
        going: Callable[[], None],
        patience: float = _LOST_SECONDS,
        starting: float = _STARTING_SECONDS,
    ) -> None:
        self._session = session
        self._going = going
        self._patience = patience
        self._starting = starting

    def connected(self) -> frozenset[int]:
        """The members whose sites are connected now.

        Raises:
            ProtocolError: ``server-lost``.
        """
        members = set()
        for client in self._ask(self._session.get_system_info).client_info:
            with suppress(InputError):
                members.add(member_number(client.name))
        return frozenset(members)

    def run(self, job: Job, is_over: Callable[[], bool]) -> str:
        """Submit a job and wait for its end; what NVFlare says became of it.

        A job that does not start is called off, and what NVFlare said of it last is given.

        Args:
            is_over: whether nothing more is to come of it; then what NVFlare has to tidy up is not waited for.

        Raises:
            ProtocolError: ``job-not-accepted``, ``server-lost``.
        """
        with tempfile.TemporaryDirectory(prefix="secagg-job-") as folder:
            job.write(Path(folder) / "job")
            try:
                number = self._session.submit_job(str(Path(folder) / "job"))
            except Exception as error:
                raise ProtocolError(
                    "job-not-accepted",
                    f"NVFlare's server does not take the job: {error}.",
                    remedy="The server's own log, in its kit, says more.",
                ) from error
        try:
            return self._wait(number, is_over)
        except BaseException:
            with suppress(Exception):
                self._session.abort_job(number)
            raise

    def _wait(self, number: str, is_over: Callable[[], bool]) -> str:
        to_start_by = time.monotonic() + self._starting
        while True:
            self._going()
            status = str(self._ask(partial(self._session.get_job_meta, number)).get("status", ""))
            if status.startswith("FINISHED") or is_over():
                return status
            if status in _NOT_STARTED and time.monotonic() > to_start_by:
                self._ask(partial(self._session.abort_job, number))
                return status
            time.sleep(_POLL_SECONDS)

    def _ask(self, question: Callable[[], Answer]) -> Answer:
        """NVFlare's answer, asked for again while its server is started again or too busy."""
        deadline = time.monotonic() + self._patience
        while True:
            try:
                return question()
            except Exception as error:
                if time.monotonic() > deadline:
                    raise ProtocolError(
                        "server-lost",
                        f"The coordinator's own server no longer answers: {type(error).__name__}.",
                        remedy="The server's own log, in its kit, says more.",
                    ) from error
            self._going()
            time.sleep(_POLL_SECONDS)


@contextmanager
def open_jobs(kit: Path, going: Callable[[], None]) -> Iterator[Jobs]:
    """Connect to the server with the job submitter's kit, once the server is up.

    Raises:
        ProtocolError: ``server-not-reached``, after a minute; what ``going`` raises.
    """
    session = _connect(kit, going)
    try:
        yield Jobs(session, going)
    finally:
        with suppress(Exception):
            session.close()


def _connect(kit: Path, going: Callable[[], None]) -> Any:
    deadline = time.monotonic() + _CONNECT_SECONDS
    while True:
        going()
        try:
            # NVFlare prints what it does; a command's output is the command's.
            with redirect_stdout(io.StringIO()):
                return new_secure_session(ADMIN, str(kit), timeout=5.0)
        except Exception as error:
            if time.monotonic() > deadline:
                raise ProtocolError(
                    "server-not-reached",
                    f"The coordinator's own server cannot be reached: {error}.",
                    remedy="Its log, in its kit, says why it did not start.",
                ) from error
        time.sleep(_POLL_SECONDS)
