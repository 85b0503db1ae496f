"""Whether what this site must never forget would be kept, and how fast: of `secagg doctor`."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import Final

from cli.machine_check import MachineCheck
from secagg.charter.cautions import Caution
from secagg.errors import SecaggError
from secagg.identity import Identity
from secagg.latch import Latch

_WHAT: Final = "durable storage"
_IN_MEMORY: Final = frozenset({"tmpfs", "ramfs"})
_MOUNTS: Final = Path("/proc/self/mountinfo")


def storage_check(folder: Path | None) -> MachineCheck:
    """What a record of the latch takes in ``folder``, or where temporary files go if none is given."""
    place = folder or Path(tempfile.gettempdir())
    try:
        found = f"{_milliseconds_a_record(folder):.1f} ms per record in {place}"
        kind = file_system_of(place)
    except OSError as error:
        return MachineCheck(
            _WHAT, f"{place} cannot be written: {error.strerror}; choose another with --folder", good=False
        )
    except SecaggError as error:
        return MachineCheck(_WHAT, error.diagnostics(), good=False)
    # Nobody keeps a site where temporary files go.
    if folder is None or kind not in _IN_MEMORY:
        return MachineCheck(_WHAT, found, good=True)
    caution = Caution(
        "storage-in-memory",
        f"{place} is in memory ({kind}): what is kept there is gone when the machine restarts.",
        "Keep the site's state on a disk, and check that with --folder.",
    )
    return MachineCheck(_WHAT, f"{found}. {caution.told()}", good=True, warnings=(caution,))


def file_system_of(place: Path) -> str | None:
    """The kind of file system that a folder is on, as Linux calls it; None where that is not known.

    Raises:
        OSError: if the folder is not there.
    """
    device = place.stat().st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    try:
        mounts = _MOUNTS.read_text(errors="replace").splitlines()
    except OSError:
        return None
    # proc_pid_mountinfo(5): the third field is the device; after a lone hyphen comes the kind.
    kinds = {before.split()[2]: after.split()[0] for before, _, after in (line.partition(" - ") for line in mounts)}
    return kinds.get(number)


def _milliseconds_a_record(folder: Path | None) -> float:
    with tempfile.TemporaryDirectory(dir=folder) as name, Latch(Path(name) / "latch.sqlite") as latch:
        charter = Identity.generate().public_key
        started = time.perf_counter()
        for epoch in range(1, 6):
            latch.record_epoch(charter, epoch)
        return (time.perf_counter() - started) / 5 * 1000
