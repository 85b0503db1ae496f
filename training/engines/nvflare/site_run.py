"""A site's process while it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from secagg.charter import VerifiedCharter
from training.engines.nvflare.bounds import VARIABLE, largest_delivery
from training.engines.nvflare.kit import Kit
from training.engines.nvflare.process import launch
from training.field.supervisor import Supervised


def nvflare_log(folder: Path) -> Path:
    """The file in a site's folder that has what NVFlare says."""
    return folder / "log" / "nvflare.log"


@contextmanager
def running(
    kit: Kit, charter: VerifiedCharter, folder: Path, on_restart: Callable[[int], None]
) -> Iterator[Supervised]:
    """Start the process of a kit, and end it with all that it started; what it says is in the site's log folder."""
    start = launch(kit)
    environment = {**start.environment, VARIABLE: str(largest_delivery(charter))}
    process = Supervised(start.command, environment, nvflare_log(folder), on_restart)
    try:
        yield process
    finally:
        process.stop()
