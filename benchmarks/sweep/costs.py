"""What the parties spent, as costs: the median hospital's, of each hospital's best set-up and best round.

Knows books and statistics. The least of several is what one takes when nobody else uses the machine; a hospital's own
least, since they take turns, and a round in which none of them is disturbed is rare. Of times in yardsticks the mean:
what disturbs is taken off already, sometimes too much and sometimes too little of it. A core that is shared with
somebody else's half of the time gives two heaps of times, between which a median jumps.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Collection, Iterable, Sequence

from benchmarks.sweep.measurement import PHASES, Cost, Kind
from secagg.wire import COORDINATOR
from training.testbed.meter import Books, Phase, Spent


def costs_of(set_ups: Sequence[Books], rounds: Sequence[Books], hospitals: Collection[int], kind: Kind) -> list[Cost]:
    """Of every phase and party that did anything.

    Args:
        set_ups: none where keys are set up in every round, or not at all.
        hospitals: those of whom the median is taken.
    """
    found = []
    for phase in PHASES:
        books = set_ups if phase == "set-up" and set_ups else rounds
        if any(spent_phase == phase for spent_phase, _ in books[0]):
            found += [_hospital(phase, books, hospitals, kind), _coordinator(phase, books, kind)]
    return found


def _hospital(phase: Phase, books: Sequence[Books], hospitals: Collection[int], kind: Kind) -> Cost:
    spent = [[book[phase, number] for book in books] for number in hospitals]

    def median(name: str) -> float:
        return float(statistics.median(min(getattr(one, name) for one in each) for each in spent))

    def mean(name: str) -> float:
        return float(statistics.mean(getattr(each[0], name) for each in spent))

    return Cost(
        phase=phase,
        party="hospital",
        cpu=median("cpu") if kind == "time" else None,
        wall=median("wall") if kind == "time" else None,
        yardsticks=mean_or_none(one.yardsticks for each in spent for one in each) if kind == "time" else None,
        memory=median("peak") if kind == "memory" else None,
        bytes_up=mean("bytes_up"),
        bytes_down=mean("bytes_down"),
        messages_up=mean("messages_up"),
        messages_down=mean("messages_down"),
    )


def _coordinator(phase: Phase, books: Sequence[Books], kind: Kind) -> Cost:
    spent = [book.get((phase, COORDINATOR), Spent()) for book in books]
    first = spent[0]
    return Cost(
        phase=phase,
        party="coordinator",
        cpu=min(one.cpu for one in spent) if kind == "time" else None,
        wall=min(one.wall for one in spent) if kind == "time" else None,
        yardsticks=mean_or_none(one.yardsticks for one in spent) if kind == "time" else None,
        memory=min(one.peak for one in spent) if kind == "memory" else None,
        bytes_up=first.bytes_up,
        bytes_down=first.bytes_down,
        messages_up=first.messages_up,
        messages_down=first.messages_down,
    )


def mean_or_none(values: Iterable[float]) -> float | None:
    """The mean; None where one of them is no number."""
    mean = statistics.fmean(values)
    return None if math.isnan(mean) else mean
