"""How far a party makes its process grow; Linux only.

Knows the kernel's count of resident memory. Knows nothing of parties.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from training.testbed.meter import Spent

_STATUS = Path("/proc/self/status")
_RESET = Path("/proc/self/clear_refs")


class MemoryGauge:
    """Measures memory."""

    @contextmanager
    def of(self, spent: Spent, holding: int) -> Iterator[None]:
        """How far the process grows: it is the party's doing, since nobody else does anything meanwhile."""
        # The most that was resident counts from here on.
        _RESET.write_text("5", encoding="ascii")
        before = _resident("VmRSS")
        yield
        spent.peak = max(spent.peak, spent.held + _resident("VmHWM") - before + holding)
        spent.held += _resident("VmRSS") - before


def _resident(which: str) -> int:
    for line in _STATUS.read_text(encoding="ascii").splitlines():
        if line.startswith(which):
            return 1024 * int(line.split()[1])
    raise LookupError(which)
