"""CPU time by party, where all parties share one process."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from time import process_time


class Clock:
    """CPU seconds by party; all parties share this process, one after another."""

    def __init__(self) -> None:
        self.spent: defaultdict[int, float] = defaultdict(float)

    @contextmanager
    def of(self, party: int) -> Iterator[None]:
        """What is done within is done by ``party``."""
        start = process_time()
        yield
        self.spent[party] += process_time() - start
