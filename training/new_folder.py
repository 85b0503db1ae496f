"""Makes a folder with all that belongs into it, durably, or none of it. Knows nothing of what that is.

Where it fills an empty folder that is there and is killed, some of it may stay, but never what makes it what it is.
"""

from __future__ import annotations

import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Final

from secagg.errors import InputError
from secagg.files import sync, unwritable

_PARTIAL: Final = ".partial"
# What is in a folder that holds nothing: what a killed `make_folder` left, and what a file system of its own has.
_NOTHING: Final = frozenset({_PARTIAL, "lost+found"})


def require_new(path: Path, remedy: str) -> None:
    """Refuse a place where something is already; an empty folder is nothing.

    Raises:
        InputError: ``folder-not-empty``.
    """
    if path.exists() and (not path.is_dir() or any(entry.name not in _NOTHING for entry in path.iterdir())):
        raise InputError("folder-not-empty", f"{path} exists and is not empty.", culprit=str(path), remedy=remedy)


def make_folder(path: Path, fill: Callable[[Path], None], last: str, mode: int | None = None) -> None:
    """Fill a folder beside ``path`` and put it there once it is whole; an empty one that is there is filled.

    That one may be a mount point, which cannot be replaced, or all that this account has.

    Args:
        fill: is given the folder to write to.
        last: the entry that makes the folder what it is: cut off before, it is nothing of its kind.
        mode: of the folder; as the umask has it, or as it is, if none is given.

    Raises:
        InputError: ``unwritable``; ``folder-of-another``; what ``fill`` raises.
    """
    whole = path.absolute()
    is_there = whole.exists()
    if is_there and mode is not None:
        _set_mode(whole, mode)
    partial = whole / _PARTIAL if is_there else whole.with_name(f".{whole.name}{_PARTIAL}")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True, mode=0o777 if mode is None else mode)
        fill(partial)
        sync(partial)
        if is_there:
            _move_up(partial, last)
            sync(whole)
        else:
            partial.rename(whole)
            sync(whole.parent)
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _set_mode(folder: Path, mode: int) -> None:
    try:
        # Some file systems have one mode for all their folders, and let nobody set it.
        if stat.S_IMODE(folder.stat().st_mode) != mode:
            folder.chmod(mode)
    except OSError as error:
        raise InputError(
            "folder-of-another",
            f"The mode of {folder} cannot be set to {mode:04o}, as it has to be: {error.strerror or error}.",
            culprit=str(folder),
            remedy="Give this account the folder (chown), or name one inside it that is not there yet.",
        ) from error


def _move_up(partial: Path, last: str) -> None:
    folder, entries = partial.parent, sorted(partial.iterdir(), key=lambda entry: entry.name == last)
    try:
        for entry in entries:
            entry.rename(folder / entry.name)
    except BaseException:
        for entry in entries:
            _remove(folder / entry.name)
        raise


def _remove(entry: Path) -> None:
    if entry.is_dir():
        shutil.rmtree(entry, ignore_errors=True)
    else:
        entry.unlink(missing_ok=True)
