"""A process that ends when the one that started it has ended, however that came about.

NVFlare starts each job in a session of its own and leaves it behind when it is killed. What is left behind would hold
a hospital's latch, or the coordinator's port, against the site that is started again.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping
from typing import Final

VARIABLE: Final = "SECAGG_STARTED_BY"
_POLL_SECONDS: Final = 0.5
_ORPHANED: Final = 1


def end_with_starter(environment: Mapping[str, str]) -> None:
    """Tie this process to the one whose number is in `VARIABLE` of its environment, if there is one."""
    starter = environment.get(VARIABLE, "")
    if starter.isdigit():
        _end_with(int(starter))


def end_job_with_site() -> None:
    """Tie a job's process to the site's, which has started it."""
    parent = os.getppid()
    # Had the site ended before this was called, process 1 would be the parent: a site's process is never that.
    _end_with(parent if parent != 1 else None)


def _end_with(parent: int | None) -> None:
    threading.Thread(target=_watch, args=(parent,), name="tether", daemon=True).start()


def _watch(parent: int | None) -> None:
    while os.getppid() == parent:
        time.sleep(_POLL_SECONDS)
    # At once: there is nobody left to tell, and what counts is on the disk already.
    os._exit(_ORPHANED)
