"""Measuring on a machine that others use too: by turns, and the best of several."""

from __future__ import annotations

import time
from collections.abc import Callable


def seconds(work: Callable[[], object]) -> float:
    """How long ``work`` takes, once."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def cpu_seconds(work: Callable[[], object]) -> float:
    """What ``work`` takes of this process's one core, once: nothing of what others do meanwhile."""
    start = time.process_time()
    work()
    return time.process_time() - start


def best_by_turns(
    rounds: int, *works: Callable[[], object], measure: Callable[[Callable[[], object]], float] = seconds
) -> list[float]:
    """The best time of each of ``works``: each is done once a round, so that all meet the same disturbances."""
    best = [float("inf")] * len(works)
    for _ in range(rounds):
        best = [min(known, measure(work)) for known, work in zip(best, works, strict=True)]
    return best
