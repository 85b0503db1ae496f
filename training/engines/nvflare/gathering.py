"""Whom a coordinator waits for before it begins a job, and for how long.

Knows who is connected and who has the release. Begins nothing.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from secagg.charter import VerifiedCharter
from secagg.errors import InputError
from secagg.release.checkpoints import fewest_to_vouch
from training.engines.nvflare.deadlines import LINGERING
from training.engines.nvflare.jobs import Jobs
from training.field.coordinator_site import CoordinatorSite
from training.field.settings import CoordinatorSettings
from training.field.watcher import SiteWatcher

_POLL_SECONDS: Final = 0.25
# So that those who have waited since the last job was cut off are still there once the next has begun.
_FOR_ALL: Final = LINGERING / 4


@dataclass(frozen=True)
class Gathering:
    """Waits for hospitals to be connected.

    Attributes:
        names: the charter's members.
        on_looked: told each time which of those that are waited for are not connected, and how many are waited for.
    """

    jobs: Jobs
    names: Sequence[str]
    tick: Callable[[], None]
    on_looked: Callable[[tuple[str, ...], int], None]

    @property
    def everybody(self) -> Set[int]:
        """The numbers of all members."""
        return frozenset(range(1, len(self.names) + 1))

    def wait_for_enough(self, wanted: Set[int], fewest: int, seconds: float, longest: float = math.inf) -> bool:
        """Wait for all that are wanted; after so many seconds, for as many as it takes; no longer than ``longest``.

        Returns:
            Whether enough are there.
        """
        if len(wanted) < fewest:
            return False
        began = time.monotonic()
        while (connected := len(self._connected(wanted))) < len(wanted):
            waited = time.monotonic() - began
            if connected >= fewest and waited > seconds:
                return True
            if waited > longest:
                return False
        return True

    def wait_for_any(self, lacking: Set[int], seconds: float) -> bool:
        """Wait, so many seconds at most, for one of those who lack the release; those who have it are gone.

        Returns:
            Whether one is there.
        """
        until = time.monotonic() + seconds
        while lacking and time.monotonic() <= until:
            if self._connected(lacking):
                return True
        return False

    def _connected(self, wanted: Set[int]) -> Set[int]:
        self.tick()
        # Not one whose kit was made for another charter: the authority may be the same.
        connected = self.jobs.connected() & wanted
        missing = tuple(self.names[number - 1] for number in sorted(wanted - connected))
        self.on_looked(missing, len(wanted))
        if missing:
            time.sleep(_POLL_SECONDS)
        return connected


def wait_with_release(
    site: CoordinatorSite, charter: VerifiedCharter, gathering: Gathering, settings: CoordinatorSettings
) -> bool:
    """With a release made, wait for those whom another job would be of use to: together, as far as they are there.

    First, for two minutes at most, for enough who could sign for one another's logs, if that has not been done; then,
    for the site's patience, for one that lacks the release.

    Returns:
        Whether they are there.
    """
    lacking = site.store(charter).state.lacking(len(gathering.names))
    return _signers_are_there(site, charter, gathering, settings, lacking) or gathering.wait_for_any(
        lacking, settings.patience
    )


def _signers_are_there(
    site: CoordinatorSite,
    charter: VerifiedCharter,
    gathering: Gathering,
    settings: CoordinatorSettings,
    lacking: Set[int],
) -> bool:
    if site.store(charter).state.witnessed:
        return False
    last = site.last_outcome()
    # Who did not sign in a job that ended in order would not in another. After one that was cut off, all linger.
    staying = lacking if last and last.finished else gathering.everybody
    fewest = fewest_to_vouch(charter.charter.max_colluding)
    return gathering.wait_for_enough(staying, fewest, min(settings.gather, _FOR_ALL), LINGERING)


def tell_missing(site: CoordinatorSite, watcher: SiteWatcher, missing: tuple[str, ...], wanted: int) -> None:
    """Write down and tell which of so many members are waited for that are not connected."""
    # For show: on a full disk it still waits.
    with suppress(InputError):
        site.note_missing(missing)
    watcher.on_gather(missing, wanted)
