"""Folders that nobody can write to, for whoever reads what was put there: a real mount, and rights that are lacking."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_NOBODY = 65534


@contextmanager
def mounted_read_only(folder: Path) -> Iterator[Path]:
    """The folder under another path, mounted to be read only; skips the test where nothing can be mounted."""
    place = folder.with_name(f"{folder.name}.mounted")
    place.mkdir()
    try:
        for options in (("--bind", str(folder), str(place)), ("-o", "remount,ro,bind", str(place))):
            made = subprocess.run(("mount", *options), check=False, capture_output=True, text=True)
            if made.returncode:
                pytest.skip(f"nothing can be mounted here: {made.stderr.strip()}")
        yield place
    finally:
        subprocess.run(("umount", "-l", str(place)), check=False, capture_output=True)
        place.rmdir()


@contextmanager
def copy_without_rights(folder: Path) -> Iterator[Path]:
    """A copy of the folder, as its owner lets others have it who may read it and no more."""
    with tempfile.TemporaryDirectory() as above:
        Path(above).chmod(0o755)
        place = Path(above) / "copy"
        shutil.copytree(folder, place)
        for file in place.rglob("*"):
            file.chmod(0o555 if file.is_dir() else 0o444)
        place.chmod(0o555)
        try:
            yield place
        finally:
            place.chmod(0o755)


def by_nobody_special(call: Callable[[], str]) -> str:
    """What ``call`` says in a process that is not root, for which modes would mean nothing."""
    if os.geteuid():
        return call()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgid(_NOBODY)
            os.setuid(_NOBODY)
            said = call()
        except BaseException as error:
            said = repr(error)
        os.write(writing, said.encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    return said
