"""A stopwatch that also counts in yardsticks, so that times of a slow and of a fast moment can be compared."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from benchmarks.flower.yardstick import Pace, Yardstick
from training.testbed.meter import Spent, Stopwatch


class PacedStopwatch:
    """Measures time; what parties spent in yardsticks is told when it is settled."""

    def __init__(self) -> None:
        self._stopwatch, self._pace = Stopwatch(), Pace(_yardstick())

    @contextmanager
    def of(self, spent: Spent, holding: int) -> Iterator[None]:
        """CPU and wall seconds, and yardsticks."""
        self._pace.refresh()
        before = spent.cpu
        with self._stopwatch.of(spent, holding):
            yield

        def tell(yardsticks: float) -> None:
            spent.yardsticks += yardsticks

        self._pace.note(spent.cpu - before, tell)

    def settle(self) -> None:
        """Tell of all that was measured up to now."""
        self._pace.settle()


@cache
def _yardstick() -> Yardstick:
    return Yardstick()
