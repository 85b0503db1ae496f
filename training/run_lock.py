"""That one process at a time runs what is in a folder, and that others can tell whether one does.

Knows a lock. Knows nothing of what runs.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from secagg.files import is_locked, lock

_NAME: Final = "running"
LOCK_FILE: Final = f"{_NAME}.lock"
"""What it leaves in the folder."""


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Keep a second process off a folder.

    Raises:
        InputError: ``state-in-use``, ``unwritable``.
    """
    descriptor = lock(folder / _NAME)
    try:
        yield
    finally:
        os.close(descriptor)


def is_running(folder: Path) -> bool:
    """Whether a process is `alone` in ``folder`` now."""
    return is_locked(folder / _NAME)
