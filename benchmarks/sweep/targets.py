"""Figures of single operations, with what they should be: what the benchmarks note, kept beside a run.

Knows a figure and its file. Which figures there are is the benchmarks' own matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from benchmarks.sweep import written
from benchmarks.sweep.environment import Environment
from benchmarks.sweep.folder import RunWriter
from secagg.errors import InputError
from secagg.files import read_bounded, write_atomically
from secagg.json_documents import MALFORMED, json_for_people

TARGETS_FILE: Final = "targets.json"
SHARE: Final = "of all"
"""The unit of a share of what some operation takes."""
_LARGEST: Final = 1 << 22


class Figure(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A measured figure; ``at_least`` and ``at_most``: limits in the same unit, from below and above."""

    what: str
    value: float
    unit: str
    at_least: float | None = None
    at_most: float | None = None

    @property
    def measured(self) -> str:
        """With its unit."""
        return f"{written.digits(self.value)} {self.unit}".strip()

    @property
    def target(self) -> str:
        """``at least 0.75``, or nothing."""
        if self.at_least is not None:
            return f"at least {self.at_least:g}"
        return "" if self.at_most is None else f"at most {self.at_most:g}"

    @property
    def verdict(self) -> str:
        """``met``, ``not met``, or nothing where there is no target."""
        if not self.target:
            return ""
        above = self.at_least is None or self.value >= self.at_least
        below = self.at_most is None or self.value <= self.at_most
        return "met" if above and below else "not met"


def read_figures(folder: Path) -> list[Figure]:
    """Those kept in a folder; none where there is no file.

    Raises:
        InputError: ``malformed-targets``, ``unreadable``, ``file-too-large``.
    """
    path = folder / TARGETS_FILE
    if not path.exists():
        return []
    try:
        return msgspec.json.decode(read_bounded(path, _LARGEST), type=list[Figure])
    except MALFORMED as error:
        raise InputError(
            "malformed-targets",
            f"{path} holds no figures: {error}.",
            culprit=str(path),
            remedy="Remove it, and measure again with `make bench`.",
        ) from error


def keep_figures(folder: Path, figures: Sequence[Figure], environment: Environment) -> None:
    """Add to what is kept; a figure of the same name is replaced where it stands.

    Args:
        environment: in which they were measured.

    Raises:
        InputError: ``malformed-targets``; what opening a run raises: ``other-environment`` if the folder's other
            figures were measured elsewhere or with other versions.
    """
    with RunWriter(folder, environment):
        kept = {one.what: one for one in read_figures(folder)} | {one.what: one for one in figures}
        write_atomically(folder / TARGETS_FILE, json_for_people([*kept.values()]))
