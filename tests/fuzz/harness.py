"""What a harness is: a decoder, inputs to start from, and the errors that it may answer bytes with."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_RAM_DISK = Path("/dev/shm")


@dataclass(frozen=True)
class Harness:
    """One decoder of bytes from outside.

    Attributes:
        seeds: real inputs, and some that were bad once.
        decode: takes the bytes, or raises one of ``refusals``. Anything else that it raises is a finding.
        refusals: the documented errors.
    """

    name: str
    seeds: Callable[[], list[bytes]]
    decode: Callable[[bytes], object]
    refusals: tuple[type[Exception], ...]

    def try_one(self, data: bytes) -> bool:
        """Whether the bytes were taken. Raises whatever must not be raised."""
        try:
            self.decode(data)
        except self.refusals:
            return False
        return True


@cache
def scratch() -> Path:
    """A folder for this process, in memory where there is some."""
    folder = Path(tempfile.mkdtemp(prefix="secagg-fuzz-", dir=_RAM_DISK if _RAM_DISK.is_dir() else None))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def on_a_file(name: str, read: Callable[[Path], object], mode: int = 0o600) -> Callable[[bytes], object]:
    """Give ``read`` a file of this name with the bytes in it, and nothing beside it."""

    def decode(data: bytes) -> object:
        folder = scratch() / name.partition(".")[0]
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        path = folder / name
        path.write_bytes(data)
        path.chmod(mode)
        return read(path)

    return decode


def nested(*units: bytes) -> list[bytes]:
    """Inputs that are deep and nothing else."""
    return [unit * 20_000 for unit in units]
