"""A coordinator that runs unattended: it begins one epoch after another until there is a release.

Composes a site's folder, its NVFlare server and jobs. What is done with a message is done in the processes of jobs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

from secagg.charter import VerifiedCharter
from secagg.errors import InputError, ProtocolError, TamperingError
from secagg.files import is_locked
from training.engines.nvflare.expiry import Expiry
from training.engines.nvflare.gathering import Gathering, tell_missing, wait_with_release
from training.engines.nvflare.job import EpochJob
from training.engines.nvflare.jobs import open_jobs
from training.engines.nvflare.kit import Kit
from training.engines.nvflare.listening import port_in_use, require_free
from training.engines.nvflare.process import PORT_TAKEN
from training.engines.nvflare.site_kits import require_coordinator_kits
from training.engines.nvflare.site_run import running
from training.field.coordinator_site import CoordinatorSite, Outcome
from training.field.settings import CoordinatorSettings
from training.field.supervisor import Supervised
from training.field.watcher import SiteWatcher
from training.json_lines import JsonLines
from training.round_record import RoundRecord, steps_summed
from training.run_lock import alone

Going = Callable[[], None]
_POLL_SECONDS: Final = 0.25
_RETRY_SECONDS: Final = 5.0
_LONGEST_RETRY_SECONDS: Final = 120.0
_PARTING_SECONDS: Final = 3.0
_LONGEST_END_SECONDS: Final = 30.0


def serve_coordinator(site: CoordinatorSite, going: Going, watcher: SiteWatcher) -> Path:
    """Begin epoch after epoch until there is a release; the file of its signed statement.

    Raises:
        InputError: ``state-in-use``, ``port-in-use``, ``certificate-expired``, or what in the folder cannot be used;
            ``no-room`` and ``unwritable``, at once.
        ProtocolError: why no epoch gave a sum for as long as the site's settings allow; `serve_coordinator` goes on
            from what was reached.
        TamperingError: ``key-material``, if a hospital sent a secret key; ``damaged-coordinator-state``;
            ``other-charter``.
    """
    charter, settings = site.read_charter(), site.read_settings()
    if site.is_done(charter):
        return site.release
    server, admin = require_coordinator_kits(site.kit, len(charter.charter.members))
    rounds, expiry = _Rounds(site.rounds, watcher), Expiry([server, admin], watcher.on_warning)

    def tick() -> None:
        going()
        process.check()
        expiry.check()
        rounds.tell()

    with _serving(site, charter, server, going, watcher) as process:
        trying = _Trying(settings.patience)
        while True:
            reached = rounds.sums
            outcome = _run_epoch(site, charter, admin, settings, tick, watcher)
            rounds.tell()
            error = outcome.as_error()
            if isinstance(error, TamperingError | InputError):
                # Another epoch would only find the same, and hospitals might pay for it.
                raise error
            if outcome.finished and error is None:
                return _end(site, charter, tick, watcher)
            # A round without a sum is no progress: every hospital has paid for it.
            if rounds.sums > reached:
                trying = _Trying(settings.patience)
            if error is not None:
                if site.release.exists() and trying.is_over:
                    # Who lacks it was named each time; any other hospital's copy will do.
                    return _end(site, charter, tick, watcher)
                pause = trying.pause_after(error)
                watcher.on_retry(error)
                _pause(pause, tick)


@contextmanager
def _serving(
    site: CoordinatorSite, charter: VerifiedCharter, server: Kit, going: Going, watcher: SiteWatcher
) -> Iterator[Supervised]:
    with alone(site.path):
        require_free(server.host, server.port, going)
        with running(server, charter, site.path, partial(_go_on, server, watcher)) as process:
            yield process


def _go_on(server: Kit, watcher: SiteWatcher, code: int) -> None:
    if code == PORT_TAKEN:
        raise port_in_use(server.host, server.port)
    watcher.on_restart(code)


class _Trying:
    """How long to go on where no epoch gives a sum, and how long to wait before the next one."""

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._since: float | None = None
        self._pause = _RETRY_SECONDS

    @property
    def is_over(self) -> bool:
        """Whether it has gone on for too long."""
        return self._since is not None and time.monotonic() - self._since > self._patience

    def pause_after(self, error: ProtocolError) -> float:
        """Seconds to wait, longer each time: another epoch costs every hospital a round, where it masks one.

        Raises:
            ProtocolError: the error itself, once it has gone on for too long.
        """
        self._since = time.monotonic() if self._since is None else self._since
        if self.is_over:
            raise error
        pause, self._pause = self._pause, min(2 * self._pause, _LONGEST_RETRY_SECONDS)
        return pause


def _run_epoch(
    site: CoordinatorSite,
    charter: VerifiedCharter,
    admin: Kit,
    settings: CoordinatorSettings,
    tick: Going,
    watcher: SiteWatcher,
) -> Outcome:
    serial, fewest = site.next_serial(), charter.charter.threshold
    try:
        with open_jobs(admin.folder, tick) as jobs:
            names = [member.name for member in charter.charter.members]
            gathering = Gathering(jobs, names, tick, partial(tell_missing, site, watcher))
            made = site.has_made_release(charter)
            if made and not site.store(charter).state.lacking(len(names)):
                # It is this run's, whatever becomes of signatures for the logs.
                site.settle_release(charter)
            if not made:
                gathering.wait_for_enough(gathering.everybody, fewest, settings.gather)
            elif wait_with_release(site, charter, gathering, settings):
                fewest = 1
            else:
                site.settle_release(charter)
                return Outcome(serial=serial, finished=True)
            job = EpochJob(charter.digest.hex(), serial, fewest, settings.open)
            ended = jobs.run(job, lambda: _has_released(site, serial))
    except ProtocolError as error:
        # The job may have come to its end all the same.
        return site.outcome(serial) or _lost(site, Outcome(serial=serial, **error.fields()))
    remedy = "See the log of the coordinator's server, in its kit."
    lost = Outcome(serial=serial, reason="job-lost", message=f"NVFlare ended the job as {ended}.", remedy=remedy)
    return site.outcome(serial) or _lost(site, lost)


def _lost(site: CoordinatorSite, outcome: Outcome) -> Outcome:
    site.note_lost(outcome)
    return outcome


def _has_released(site: CoordinatorSite, serial: int) -> bool:
    outcome = site.outcome(serial)
    return outcome is not None and outcome.finished


class _Rounds:
    """Tells of each round once, from what the coordinator wrote down."""

    def __init__(self, log: JsonLines[RoundRecord], watcher: SiteWatcher) -> None:
        self._log = log
        self._watcher = watcher
        self._summed = steps_summed(log.records)

    @property
    def sums(self) -> int:
        """How many sums there are."""
        return len(self._summed)

    def tell(self) -> None:
        added = self._log.read_on()
        for record in added:
            self._watcher.on_round(record)
        self._summed |= steps_summed(added)


def _end(site: CoordinatorSite, charter: VerifiedCharter, tick: Going, watcher: SiteWatcher) -> Path:
    """Leave, with the release; its file."""
    _part(site, tick)
    if not site.store(charter).state.witnessed:
        watcher.on_warning(_logs_not_signed())
    return site.release


def _logs_not_signed() -> ProtocolError:
    return ProtocolError(
        "logs-not-signed",
        "Too few hospitals have signed for one another's logs and for the transcript: they refused, or had left.",
        remedy="The release is just as valid. Keep copies of logs and transcript: nothing else tells if one is "
        "rewritten later.",
    )


def _part(site: CoordinatorSite, tick: Going) -> None:
    """Stay until NVFlare has told the hospitals that the job is over: their processes of it end when they hear that."""
    # Not until NVFlare says that the job has finished: hospitals leave at once when they are told, and it waits ten
    # seconds for each of them to say how its process ended. Before it tells them, it imports torch, for seconds.
    until = time.monotonic() + _LONGEST_END_SECONDS
    while is_locked(site.conducting) and time.monotonic() < until:
        tick()
        time.sleep(_POLL_SECONDS)
    # For the word to get there: nobody answers it.
    _pause(_PARTING_SECONDS, tick)


def _pause(seconds: float, tick: Going) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        tick()
        time.sleep(_POLL_SECONDS)
