"""A hospital that runs unattended: it waits for epochs, and takes part in each, until there is a release.

Composes a site's folder and its NVFlare process. What is done with a message is done in the processes of jobs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

from msgspec.structs import replace

from secagg.charter import VerifiedCharter
from secagg.charter.folder import read_charter, read_verified
from secagg.errors import InputError, SecaggError, TamperingError
from secagg.files import is_locked
from secagg.policy import put_in_force
from secagg.release.folder import holds_release
from training.engines.nvflare.connection import Connection
from training.engines.nvflare.expiry import Expiry
from training.engines.nvflare.farewell import Farewell
from training.engines.nvflare.kit import Kit
from training.engines.nvflare.listening import Listener
from training.engines.nvflare.site_kits import require_hospital_kit
from training.engines.nvflare.site_run import nvflare_log, running
from training.field.hospital_site import RENEWAL_CUT_OFF, HospitalSite
from training.field.spent import as_charged
from training.field.status import (
    SiteState,
    SiteStatus,
    connected,
    left_without_a_word,
    not_started,
    released,
    stopped,
    waiting,
    why_waiting,
)
from training.field.watcher import SiteWatcher
from training.run_lock import alone
from training.stops import require_not_stopped

_POLL_SECONDS: Final = 0.25
_SETTLED: Final = (SiteState.RELEASED, SiteState.STOPPED)
# In a job too: NVFlare's process of one waits for ever where its coordinator is gone, and writes nothing.
_UNSETTLED: Final = (SiteState.WAITING, SiteState.TRAINING)


def serve_hospital(site: HospitalSite, going: Callable[[], None], watcher: SiteWatcher) -> SiteStatus:
    """Take part in every epoch until there is a release, or until this hospital stops for good; its last status.

    One that has either is not started again.

    Args:
        going: asked again and again; what it raises ends the site.

    Raises:
        InputError: ``state-in-use``, ``renewal-cut-off``, ``other-kit``, ``certificate-expired``, or what in the folder
            cannot be used.
        RefusedError: ``policy-loosened``.
        TamperingError: if the charter, or what the site remembers of its policy, was altered.
    """
    with alone(site.path), _telling_why_not(site):
        charter, kit, known = _started(site)
        if known.state in _SETTLED:
            site.status.write(known)
            return known
        return _until_settled(site, charter, kit, known, going, watcher)


def _until_settled(
    site: HospitalSite,
    charter: VerifiedCharter,
    kit: Kit,
    known: SiteStatus,
    going: Callable[[], None],
    watcher: SiteWatcher,
) -> SiteStatus:
    """Its last status; ``known`` is its first."""
    expiry = Expiry([kit], watcher.on_warning)
    # Not refused: what they are on may be mounted later than this site is started, as at boot.
    if missing := site.records_missing():
        watcher.on_warning(missing)
    with running(kit, charter, site.path, watcher.on_restart) as process:
        site.status.write(known)
        watcher.on_status(known)
        connection = Connection(kit, nvflare_log(site.path))
        release = site.folder.release(charter.digest)
        farewell = Farewell(release, site.attending, Listener(kit.host, kit.port))
        while True:
            going()
            process.check()
            if farewell.is_over() and known.state is not SiteState.RELEASED:
                site.status.write(released(known, release))
            status = _status_of(site, charter)
            expired, lost = expiry.check(), connection.lost()
            if status and status.state in _UNSETTLED:
                status = _say_why(site, status, expired, lost)
            if status and _is_news(status, known):
                watcher.on_status(status)
                known = status
            if status and status.state in _SETTLED:
                return status
            time.sleep(_POLL_SECONDS)


@contextmanager
def _telling_why_not(site: HospitalSite) -> Iterator[None]:
    """Write down why a site could not be started, unless it is over already, or has stopped for a graver reason.

    That of an earlier charter is no reason not to tell.
    """
    try:
        yield
    except SecaggError as error:
        before, own = site.status.known(), _own_charter(site)
        settled = before is not None and before.started and before.state in _SETTLED and before.charter == own
        # A renewal that was cut off has left the earlier charter: how that ended is no news.
        if not settled or error.reason == RENEWAL_CUT_OFF:
            # On a full disk whoever started it is told all the same.
            with suppress(InputError):
                site.status.write(not_started(error, own, before))
        raise


def _own_charter(site: HospitalSite) -> str:
    """The digest of a site's charter, hex; nothing of one that cannot be read."""
    with suppress(SecaggError):
        return read_charter(site.charter).digest().hex()
    return ""


def _started(site: HospitalSite) -> tuple[VerifiedCharter, Kit, SiteStatus]:
    """What a site runs with, its policy in force, and its first status: of one that does not go on, why."""
    site.require_whole()
    charter = read_verified(site.charter)
    name = site.member_name(charter)
    kit = require_hospital_kit(site.kit, charter.charter.number_of(name))
    before = site.status.known()
    known = as_charged(waiting(name, charter, before), site, charter)
    # Not `site.release`, which verifies the charter each time it is asked.
    release = site.folder.release(charter.digest)
    is_over = holds_release(release) and _has_answered(before, charter)
    if not is_over and (stop := _stopped_for_good(site, charter, before, known)):
        return charter, kit, stop
    # Not only when a job opens the site: that may be weeks away, and until then anybody who can write the file could
    # loosen it.
    put_in_force(site.folder.policy)
    return charter, kit, released(known, release) if is_over else known


def _status_of(site: HospitalSite, charter: VerifiedCharter) -> SiteStatus | None:
    """The site's status; that it waits, where the process of the job that it was in was killed and could not say so."""
    status = site.status.known()
    if status is None or status.state is not SiteState.TRAINING or _is_in_a_job(site):
        return status
    # Once more: a job's process writes how it ended before it lets go.
    status = site.status.known()
    if status is None or status.state is not SiteState.TRAINING:
        return status
    left = left_without_a_word(status)
    if not _show(site, left, status):
        # On a full disk this is looked at again and again, and the ledger is not to be read each time.
        return left
    charged = as_charged(left, site, charter)
    _show(site, charged, left)
    return charged


def _is_in_a_job(site: HospitalSite) -> bool:
    with suppress(InputError):
        return is_locked(site.attending)
    return True


def _say_why(
    site: HospitalSite, status: SiteStatus, expired: SecaggError | None, lost: SecaggError | None
) -> SiteStatus:
    """The status of a site, with what keeps it from being connected; written down where that is news."""
    told = status
    if expired:
        told = why_waiting(status, expired)
    elif not lost:
        told = connected(status)
    elif status.reason is None:
        told = why_waiting(status, lost)
    if told is not status:
        _show(site, told, status)
    return told


def _show(site: HospitalSite, status: SiteStatus, before: SiteStatus) -> bool:
    """Write a status down in the place of the one ``before``; whether it is there."""
    # A job's process may have written how it ended since that was read: then this is looked at again.
    if site.status.known() != before:
        return False
    # On a full disk it still waits: a status is no reason not to.
    with suppress(InputError):
        site.status.write(status)
        return True
    return False


def _is_news(status: SiteStatus, known: SiteStatus) -> bool:
    """Whether a status says more than the time."""
    return replace(status, since=known.since, updated=known.updated) != known


def _has_answered(status: SiteStatus | None, charter: VerifiedCharter) -> bool:
    """Whether the job in which the release came was over; if not, the coordinator may wait to hear that it is here."""
    return status is not None and (status.state, status.charter) == (SiteState.RELEASED, charter.digest.hex())


def _stopped_for_good(
    site: HospitalSite, charter: VerifiedCharter, before: SiteStatus | None, known: SiteStatus
) -> SiteStatus | None:
    """The status of a site that does not go on under its charter, or whose latch cannot tell; None if it may.

    Not of every site whose status is ``stopped``: a file that was not what it was may have been put right since, the
    latch among them.
    """
    if before and (before.charter, before.state, before.reason) == (known.charter, SiteState.STOPPED, "forged-sum"):
        return before
    try:
        require_not_stopped(site.folder, charter.digest)
    except TamperingError as error:
        return stopped(known, error)
    return None
