"""Measuring on a machine that others use too: by turns, and the best or the median of several."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from statistics import median


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


def by_turns(
    rounds: int, *works: Callable[[], object], measure: Callable[[Callable[[], object]], float] = seconds
) -> list[tuple[float, ...]]:
    """The times of each of ``works``, by work: each is done once a round, so that all meet the same disturbances."""
    return [*zip(*([measure(work) for work in works] for _ in range(rounds)), strict=True)]


def best_by_turns(
    rounds: int, *works: Callable[[], object], measure: Callable[[Callable[[], object]], float] = seconds
) -> list[float]:
    """The best time of each of ``works``, taken `by_turns`."""
    return [min(times) for times in by_turns(rounds, *works, measure=measure)]


def median_ratio(these: Sequence[float], others: Sequence[float]) -> float:
    """How many times as long these took as the others of the same turns.

    From one run to the next it changes less than the ratio of the best of both, which are of different moments.
    """
    return median(one / other for one, other in zip(these, others, strict=True))
