"""A coordinator that runs unattended: it begins one epoch after another until there is a release.

Composes a site's folder, its NVFlare server and jobs. What is done with a message is done in the processes of jobs.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from secagg.charter import VerifiedCharter
from secagg.errors import ProtocolError
from training.engines.nvflare.job import EpochJob
from training.engines.nvflare.jobs import Jobs, open_jobs
from training.engines.nvflare.kit import Kit
from training.engines.nvflare.site_kits import require_coordinator_kits
from training.engines.nvflare.site_run import alone, running
from training.field.coordinator_site import CoordinatorSite, Outcome
from training.field.watcher import SiteWatcher

Going = Callable[[], None]
_POLL_SECONDS: Final = 0.25
_RETRY_SECONDS: Final = 5.0
_PARTING_SECONDS: Final = 3.0


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

    with alone(site.path), running(server, site.path, watcher) as process:
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
