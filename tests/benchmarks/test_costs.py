"""What parties spent becomes one figure for each: hospitals that are disturbed in turn do not count for more."""

from __future__ import annotations

import math
from collections import defaultdict

from benchmarks.sweep.costs import costs_of
from secagg.wire import COORDINATOR
from training.testbed.meter import Books, Spent


def books(hospitals: dict[int, float], coordinator: float) -> Books:
    """Of one round, in CPU seconds; in yardsticks ten times as much."""
    spent = {COORDINATOR: coordinator, **hospitals}
    kept = {("round", number): Spent(cpu=seconds, yardsticks=10 * seconds) for number, seconds in spent.items()}
    return defaultdict(Spent, kept)


def test_a_hospital_counts_by_its_best_round_though_in_none_all_are_undisturbed():
    rounds = [
        books({1: 5.0, 2: 9.0, 3: 9.0}, coordinator=9.0),
        books({1: 9.0, 2: 6.0, 3: 9.0}, coordinator=4.0),
        books({1: 9.0, 2: 9.0, 3: 7.0}, coordinator=8.0),
    ]
    hospital, coordinator = costs_of([], rounds, [1, 2, 3], "time")
    assert (hospital.party, hospital.cpu) == ("hospital", 6.0)
    assert (coordinator.party, coordinator.cpu) == ("coordinator", 4.0)


def test_of_yardsticks_the_mean_of_all_hospitals_and_rounds_counts():
    rounds = [books({1: 1.0, 2: 5.0}, coordinator=9.0), books({1: 2.0, 2: 6.0}, 1.0), books({1: 3.0, 2: 13.0}, 5.0)]
    hospital, coordinator = costs_of([], rounds, [1, 2], "time")
    assert hospital.yardsticks == 50.0
    assert coordinator.yardsticks == 50.0


def test_of_work_too_long_for_yardsticks_seconds_are_known_alone():
    hospital, _ = costs_of([], [books({1: 1.0, 2: math.nan, 3: 1.0}, 1.0)], [1, 2, 3], "time")
    assert hospital.yardsticks is None


def test_who_is_not_among_the_real_ones_does_not_count():
    hospital, _ = costs_of([], [books({1: 1.0, 2: 2.0, 3: 50.0, 4: 60.0}, 1.0)], [1, 2], "time")
    assert hospital.cpu == 1.5
