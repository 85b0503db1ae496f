"""A site's folder on a file system of its own, small enough to be filled (Linux, as an administrator)."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

_SIZE = "64m"


@dataclass(frozen=True)
class SmallDisk:
    """The file system that holds ``folder``."""

    folder: Path

    @contextmanager
    def full(self) -> Iterator[None]:
        """Nothing more fits meanwhile."""
        filler = self.folder / "filler"
        try:
            with suppress(OSError), filler.open("wb", buffering=0) as file:
                for block in (1 << 16, 1):
                    with suppress(OSError):
                        while file.write(bytes(block)):
                            pass
            yield
        finally:
            filler.unlink()


@contextmanager
def small_disk(folder: Path) -> Iterator[SmallDisk]:
    """Put a site that has not been started on a small disk; skips the test where none can be mounted."""
    kept = folder.with_name(f"{folder.name}.kept")
    folder.rename(kept)
    folder.mkdir()
    mount = ("mount", "-t", "tmpfs", "-o", f"size={_SIZE},mode=0700", "tmpfs", str(folder))
    made = subprocess.run(mount, check=False, capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"no disk can be mounted here: {made.stderr.strip()}")
    try:
        shutil.copytree(kept, folder, dirs_exist_ok=True)
        yield SmallDisk(folder)
    finally:
        # Lazily: the site's processes may be about to end.
        subprocess.run(("umount", "-l", str(folder)), check=False)
