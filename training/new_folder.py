"""Makes a folder with all that belongs into it, or none of it. Knows nothing of what that is."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from secagg.errors import InputError
from secagg.files import unwritable


def require_new(path: Path, remedy: str) -> None:
    """Refuse a place where something is already; an empty folder is nothing.

    Raises:
        InputError: ``folder-not-empty``.
    """
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise InputError("folder-not-empty", f"{path} exists and is not empty.", culprit=str(path), remedy=remedy)


def make_folder(path: Path, fill: Callable[[Path], None], mode: int = 0o777) -> None:
    """Fill a folder beside ``path`` and put it there once it is whole.

    Args:
        fill: is given the folder to write to.

    Raises:
        InputError: ``unwritable``; what ``fill`` raises.
    """
    whole = path.absolute()
    partial = whole.with_name(f".{whole.name}.partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True, mode=mode)
        fill(partial)
        if path.exists():
            path.rmdir()
        partial.rename(whole)
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
