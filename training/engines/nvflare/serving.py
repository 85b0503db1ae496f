"""Sites that run unattended: a hospital that waits for epochs, a coordinator that begins them until there is a release.

Composes a site's folder, its NVFlare process and, at the coordinator, the jobs. What either does with a message is
done in the processes that NVFlare starts for each job.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from secagg.charter import VerifiedCharter
from secagg.charter.folder import read_verified
from secagg.errors import ProtocolError
from secagg.files import lock
from training.engines.nvflare.job import EpochJob
from training.engines.nvflare.jobs import Jobs, open_jobs
from training.engines.nvflare.kit import Kit
from training.engines.nvflare.process import launch
from training.engines.nvflare.site_kits import require_coordinator_kits, require_hospital_kit
from training.field.coordinator_site import CoordinatorSite, Outcome
from training.field.hospital_site import HospitalSite
from training.field.status import SiteState, SiteStatus, released, waiting
from training.field.supervisor import Supervised
from training.report import RoundRecord

Going = Callable[[], None]
_POLL_SECONDS: Final = 0.25
_RETRY_SECONDS: Final = 5.0
_PARTING_SECONDS: Final = 3.0
_LINGERING_SECONDS: Final = 30.0
_SETTLED: Final = (SiteState.RELEASED, SiteState.STOPPED)


@dataclass(frozen=True)
class SiteWatcher:
    """What a caller wants to hear of while a site runs.

    Attributes:
        on_restart: the site's process ended by itself with this exit code, and is started again.
        on_status: a hospital's status has changed.
        on_gather: how many members are connected, of how many.
        on_round: a round is over.
        on_retry: an epoch could not be run to its end; another is tried.
    """

    on_restart: Callable[[int], None] = lambda _code: None
    on_status: Callable[[SiteStatus], None] = lambda _status: None
    on_gather: Callable[[int, int], None] = lambda _connected, _members: None
    on_round: Callable[[RoundRecord], None] = lambda _record: None
    on_retry: Callable[[ProtocolError], None] = lambda _error: None


def serve_hospital(site: HospitalSite, going: Going, watcher: SiteWatcher) -> SiteStatus:
    """Take part in every epoch until there is a release, or until this hospital stops for good; its last status.

    Args:
        going: asked again and again; what it raises ends the site.

    Raises:
        InputError: ``state-in-use``, ``other-kit``, or what in the folder cannot be used.
    """
    charter = read_verified(site.charter)
    name = site.member_name(charter)
    kit = require_hospital_kit(site.kit, charter.charter.number_of(name))
    with _alone(site.path), _process(kit, site.path, watcher) as process:
        known = waiting(name, charter, site.status.read())
        site.status.write(known)
        watcher.on_status(known)
        release, has_come = site.folder.release(charter.digest), _Lasting(_LINGERING_SECONDS)
        while True:
            going()
            process.check()
            if has_come(release.exists()) and known.state is not SiteState.RELEASED:
                site.status.write(released(known))
            status = site.status.read()
            if status and status != known:
                watcher.on_status(status)
                known = status
            if status and status.state in _SETTLED:
                return status
            time.sleep(_POLL_SECONDS)


def serve_coordinator(site: CoordinatorSite, going: Going, watcher: SiteWatcher) -> Path:
    """Begin epoch after epoch until there is a release; the file of its signed statement.

    Raises:
        InputError: ``state-in-use``, or what in the folder cannot be used.
        ProtocolError: why no epoch succeeded for as long as the site's settings allow; `serve_coordinator` goes on
            from what was reached.
    """
    if site.is_done:
        return site.release
    charter, settings = site.read_charter(), site.read_settings()
    server, admin = require_coordinator_kits(site.kit)
    rounds = _Rounds(site, charter, watcher)

    def tick() -> None:
        going()
        process.check()
        rounds.tell()

    with _alone(site.path), _process(server, site.path, watcher) as process:
        given_up = time.monotonic() + settings.patience
        while True:
            reached = rounds.count
            outcome = _run_epoch(site, charter, admin, tick, watcher)
            error = outcome.as_error()
            rounds.tell()
            if site.release.exists() and (error is None or time.monotonic() > given_up):
                # The hospitals' processes end when the job does, and want to be told so.
                _pause(_PARTING_SECONDS, tick)
                return site.release
            if error is None or rounds.count > reached:
                given_up = time.monotonic() + settings.patience
            if error is not None:
                if time.monotonic() > given_up:
                    raise error
                watcher.on_retry(error)
                _pause(_RETRY_SECONDS, tick)


def _run_epoch(
    site: CoordinatorSite, charter: VerifiedCharter, admin: Kit, tick: Going, watcher: SiteWatcher
) -> Outcome:
    serial, seconds = site.next_serial(), site.read_settings().gather
    try:
        with open_jobs(admin.folder, tick) as jobs:
            # Whoever has the release is gone; one that lacks it is enough to hand it out.
            fewest = 1 if site.release.exists() else charter.charter.threshold
            _gather(jobs, charter, fewest, seconds, tick, watcher)
            job = EpochJob(charter.digest.hex(), serial, fewest, seconds)
            ended = jobs.run(job, lambda: _has_released(site, serial))
    except ProtocolError as error:
        return Outcome(serial=serial, reason=error.reason, message=error.message, remedy=error.remedy)
    remedy = "The log of the coordinator's server, in its kit, says more."
    lost = Outcome(serial=serial, reason="job-lost", message=f"NVFlare ended the job as {ended}.", remedy=remedy)
    return site.outcome(serial) or lost


def _has_released(site: CoordinatorSite, serial: int) -> bool:
    outcome = site.outcome(serial)
    return outcome is not None and outcome.finished


def _gather(
    jobs: Jobs, charter: VerifiedCharter, fewest: int, seconds: float, tick: Going, watcher: SiteWatcher
) -> None:
    """Wait for everybody; after a while, for as many as are needed.

    Raises:
        ProtocolError: ``nobody-connected``, after a while where the release is made: all may have it and be gone.
    """
    members = len(charter.charter.members)
    enough = time.monotonic() + seconds
    while True:
        tick()
        connected = len(jobs.connected())
        watcher.on_gather(connected, members)
        late = time.monotonic() > enough
        if connected == members or (connected >= fewest and late):
            return
        if late and fewest == 1:
            raise ProtocolError("nobody-connected", "No hospital is connected that could be given the release.")
        time.sleep(_POLL_SECONDS)


class _Lasting:
    """Tells when something has been so for a while.

    A release may be here and its job never end: the coordinator, which has what it wanted, need not say goodbye. But as
    long as the job may still end by itself, its last answer is on the way.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._since: float | None = None

    def __call__(self, is_so: bool) -> bool:
        if self._since is None and is_so:
            self._since = time.monotonic()
        return self._since is not None and time.monotonic() - self._since >= self._seconds


class _Rounds:
    """Tells of each round once, from what the coordinator wrote down."""

    def __init__(self, site: CoordinatorSite, charter: VerifiedCharter, watcher: SiteWatcher) -> None:
        self._site = site
        self._charter = charter
        self._watcher = watcher
        self.count = len(site.progress(charter).rounds)

    def tell(self) -> None:
        for record in self._site.progress(self._charter).rounds[self.count :]:
            self._watcher.on_round(record)
            self.count += 1


def _pause(seconds: float, tick: Going) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        tick()
        time.sleep(_POLL_SECONDS)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    descriptor = lock(folder / "running")
    try:
        yield
    finally:
        os.close(descriptor)


@contextmanager
def _process(kit: Kit, folder: Path, watcher: SiteWatcher) -> Iterator[Supervised]:
    start = launch(kit)
    process = Supervised(start.command, start.environment, folder / "log" / "nvflare.log", watcher.on_restart)
    try:
        yield process
    finally:
        process.stop()
