"""How large the benchmarks are: in full; brief, for the short table; or in short form, where only it matters that they
run.
"""

from __future__ import annotations

import os
from typing import Final, TypeVar

Size = TypeVar("Size")

_FORM: Final = os.environ.get("SECAGG_BENCH", "full")
SHORT: Final = _FORM == "short"
BRIEF: Final = _FORM == "brief"


def size(full: Size, short: Size, brief: Size | None = None) -> Size:
    """What the environment variable SECAGG_BENCH says: ``short``, ``brief`` where that is given, else ``full``.

    Targets are for full sizes. So brief is the same work fewer times, or a part of it whose target is for as much.
    """
    if SHORT:
        return short
    return brief if BRIEF and brief is not None else full
