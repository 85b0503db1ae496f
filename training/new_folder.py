"""Makes a folder with all that belongs into it, or none of it. Knows nothing of what that is."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

from secagg.errors import InputError
from secagg.files import unwritable

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

    That one may be a mount point, which cannot be replaced, or all that this account may write to.

    Args:
        fill: is given the folder to write to.
        last: the entry that makes the folder what it is: cut off before, it is nothing of its kind.
        mode: of the folder; as the umask has it, or as it is, if none is given.

    Raises:
        InputError: ``unwritable``; what ``fill`` raises.
    """
    whole = path.absolute()
    is_there = whole.exists()
    partial = whole / _PARTIAL if is_there else whole.with_name(f".{whole.name}{_PARTIAL}")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True, mode=0o777 if mode is None else mode)
        fill(partial)
        if is_there:
            _move_up(partial, last, mode)
        else:
            partial.rename(whole)
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _move_up(partial: Path, last: str, mode: int | None) -> None:
    folder = partial.parent
    if mode is not None:
        folder.chmod(mode)
    for entry in sorted(partial.iterdir(), key=lambda entry: entry.name == last):
        entry.rename(folder / entry.name)
