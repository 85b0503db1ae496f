"""A folder for a run that nobody takes up again: in memory where there is such a place.

Latches flush to disk before every message. What survives a power cut is not such a run's business (tests/faults).
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_MEMORY: Final = "/dev/shm"  # noqa: S108 - a folder of its own is made in it, for its owner alone


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """An empty folder, gone afterwards with all that is in it."""
    place = _MEMORY if os.access(_MEMORY, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="secagg-", dir=place) as folder:
        yield Path(folder)
