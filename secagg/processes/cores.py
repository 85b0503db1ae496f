"""How many cores this process may use.

Knows the affinity of a process and, on Linux, the quota of its control group: a container may have one core's time on a
machine of 64.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Final

_OWN_GROUP: Final = Path("/proc/self/cgroup")
_GROUPS: Final = Path("/sys/fs/cgroup")


def usable_cores() -> int:
    """The cores that this process may run on, no more than it has time for; 1 where the system does not say."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    quota = cores_of_quota(_OWN_GROUP, _GROUPS)
    return cores if quota is None else min(cores, quota)


def cores_of_quota(own_group: Path, groups: Path) -> int | None:
    """What ``cpu.max`` allows, in cores, rounded up; None where there is no such limit.

    Linux, Control Group v2, "CPU Interface Files": microseconds in a period, and the period. The smallest limit counts
    of the process's group and of those around it.
    """
    try:
        name = own_group.read_text(encoding="ascii").rpartition("0::/")[2].split("\n")[0]
    except (OSError, UnicodeDecodeError):
        return None
    group = groups / name
    around = [folder for folder in (group, *group.parents) if folder.is_relative_to(groups)]
    return min(filter(None, (_quota(folder / "cpu.max") for folder in around)), default=None)


def _quota(path: Path) -> int | None:
    try:
        quota, period = path.read_text(encoding="ascii").split()
        return None if quota == "max" else max(1, math.ceil(int(quota) / int(period)))
    except (OSError, ValueError, ZeroDivisionError):
        return None
