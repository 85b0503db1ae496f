"""How long operations take on this machine, in CPU time of this process: by turns, and the median of several.

Knows no operation. By turns, because that is how a party does them: an operation that follows itself finds all that it
needs in the caches, and is up to a third quicker than in a round.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Final

TURNS: Final = 9
# What takes longer than all else here need not be done often: it is not disturbed by much for long.
_ENOUGH_SECONDS: Final = 0.15


def seconds(*operations: Callable[[], object], turns: int = TURNS) -> list[float]:
    """Of each of ``operations``: once to warm up, then each once a turn; fewer turns of what takes long."""
    taken: list[list[float]] = [[] for _ in operations]
    for turn in range(turns + 1):
        for operation, readings in zip(operations, taken, strict=True):
            started = time.process_time()
            operation()
            readings.append(time.process_time() - started)
        if turn and sum(map(sum, taken)) > _ENOUGH_SECONDS:
            break
    return [median(readings[1:]) for readings in taken]
