"""Writing files so that a reader never finds half of one, and reading them with a bound.

Knows paths and bytes. Knows nothing of what the bytes mean.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from secagg.errors import InputError

PRIVATE = 0o600
SHARED = 0o644


def write_atomically(path: Path, data: bytes, mode: int = SHARED) -> None:
    """Put ``data`` at ``path`` with ``mode``: all of it, durably, or nothing.

    Raises:
        InputError: ``unwritable``, if the folder cannot be written to.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        temporary.unlink(missing_ok=True) if path.parent.is_dir() else None
        raise unwritable(path, error) from error


def sync_folder(folder: Path) -> None:
    """Make a rename in ``folder`` durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_bounded(path: Path, limit: int) -> bytes:
    """Read ``path``, at most ``limit`` bytes.

    Raises:
        InputError: ``unreadable`` if it is missing or cannot be read, ``file-too-large`` beyond ``limit``.
    """
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise InputError(
            "unreadable",
            f"{path} cannot be read: {error.strerror}.",
            culprit=str(path),
            remedy="Check the path and its permissions.",
        ) from error
    if len(data) > limit:
        raise InputError(
            "file-too-large",
            f"{path} is larger than {limit} bytes.",
            culprit=str(path),
            remedy="It is probably not the file you meant.",
        )
    return data


def lock(path: Path) -> int:
    """Take the lock of the state file ``path`` for this process; closing the returned descriptor lets go of it.

    Raises:
        InputError: ``state-in-use`` if another process has it, ``unwritable``.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path.with_name(f"{path.name}.lock"), os.O_RDWR | os.O_CREAT, PRIVATE)
    except OSError as error:
        raise unwritable(path, error) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise InputError(
            "state-in-use",
            f"{path} is in use by another process.",
            culprit=str(path),
            remedy="Stop the other process: a hospital's state belongs to one at a time.",
        ) from error
    return descriptor


def unwritable(path: Path, error: OSError) -> InputError:
    """The error for a place that cannot be written to."""
    return InputError(
        "unwritable",
        f"{path} cannot be written: {error.strerror}.",
        culprit=str(path),
        remedy="Choose a folder that you can write to and that has free space.",
    )
