"""Measuring on a machine that others use too: by turns, and the best of several."""

from __future__ import annotations

import time
from collections.abc import Callable


def seconds(work: Callable[[], object]) -> float:
    """How long ``work`` takes, once."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def best_by_turns(rounds: int, *works: Callable[[], object]) -> list[float]:
    """The best time of each of ``works``: each is done once a round, so that all meet the same disturbances."""
    best = [float("inf")] * len(works)
    for _ in range(rounds):
        best = [min(known, seconds(work)) for known, work in zip(best, works, strict=True)]
    return best
