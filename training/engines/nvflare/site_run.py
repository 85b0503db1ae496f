"""A site's process while it runs, and the lock by which there is one of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from secagg.charter import VerifiedCharter
from secagg.files import lock
from training.engines.nvflare.bounds import VARIABLE, largest_delivery
from training.engines.nvflare.kit import Kit
from training.engines.nvflare.process import launch
from training.field.supervisor import Supervised
from training.field.watcher import SiteWatcher


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Keep a second process off a site's folder.

    Raises:
        InputError: ``state-in-use``.
    """
    descriptor = lock(folder / "running")
    try:
        yield
    finally:
        os.close(descriptor)


@contextmanager
def running(kit: Kit, charter: VerifiedCharter, folder: Path, watcher: SiteWatcher) -> Iterator[Supervised]:
    """Start the process of a kit, and end it with all that it started; what it says is in the site's log folder."""
    start = launch(kit)
    environment = {**start.environment, VARIABLE: str(largest_delivery(charter))}
    process = Supervised(start.command, environment, folder / "log" / "nvflare.log", watcher.on_restart)
    try:
        yield process
    finally:
        process.stop()
