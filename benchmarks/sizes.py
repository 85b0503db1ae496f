"""How large the benchmarks are: in full, or in short form, where only it matters that they run."""

from __future__ import annotations

import os
from typing import Final, TypeVar

Size = TypeVar("Size")

SHORT: Final = os.environ.get("SECAGG_BENCH") == "short"


def size(full: Size, short: Size) -> Size:
    """``short`` if the environment variable SECAGG_BENCH is ``short``, else ``full``."""
    return short if SHORT else full
