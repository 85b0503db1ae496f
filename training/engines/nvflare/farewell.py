"""When a hospital that has the release may leave: others may not have it yet, and need this one's word after that.

Knows what is in the hospital's folder, and whether its coordinator is there. Knows nothing of messages.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

from secagg.files import is_locked
from secagg.release.checkpoints import holds_checkpoints
from secagg.release.folder import holds_release
from training.engines.nvflare.deadlines import LINGERING, LONGEST_FAREWELL
from training.engines.nvflare.listening import Listener

# For one that is started again, or its machine.
_ABSENCE_SECONDS: Final = 300.0


class Farewell:
    """Tells when nobody waits any more for what a hospital could still do.

    Args:
        release: the folder that the release comes into.
        attending: what is locked as long as a job lasts that the hospital takes part in.
    """

    def __init__(self, release: Path, attending: Path, coordinator: Listener) -> None:
        self._release = release
        self._attending = attending
        self._coordinator = coordinator
        self._nothing_has_followed = _Lasting(LINGERING)
        self._has_been_left = _Lasting(_ABSENCE_SECONDS)
        self._has_stayed = _Lasting(LONGEST_FAREWELL)

    def is_over(self) -> bool:
        """Whether it may leave; to be asked again and again, as it counts what has been so without a break."""
        has_come = holds_release(self._release)
        nothing_follows = has_come and self._nothing_follows()
        # What hangs on to a coordinator that has left may hang on for good, and look like a job that lasts.
        is_left = has_come and not nothing_follows and not self._coordinator.is_there()
        return any(
            [
                self._nothing_has_followed(nothing_follows),
                self._has_been_left(is_left),
                self._has_stayed(has_come),
            ]
        )

    def _nothing_follows(self) -> bool:
        # Others may keep the coordinator waiting, and their checkpoints come after that, as the last of a job.
        return holds_checkpoints(self._release) or not is_locked(self._attending)


class _Lasting:
    """Tells when something has been so for a while, without a break."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._since: float | None = None

    def __call__(self, is_so: bool) -> bool:
        if not is_so:
            self._since = None
            return False
        if self._since is None:
            self._since = time.monotonic()
        return time.monotonic() - self._since >= self._seconds
