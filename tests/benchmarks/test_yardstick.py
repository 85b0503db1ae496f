"""Yardsticks: work counts for as many as would have been timed meanwhile, however fast the machine was."""

from __future__ import annotations

import math

import pytest

from benchmarks.flower.yardstick import LONGEST, Pace, Yardstick
from benchmarks.sweep.paced_stopwatch import PacedStopwatch
from training.testbed.meter import Meter


class Scripted(Yardstick):
    """One that takes these seconds, one after another."""

    def __init__(self, *seconds: float) -> None:
        self._left = list(seconds)

    def seconds(self) -> float:
        return self._left.pop(0)


def test_work_counts_by_the_mean_of_the_yardsticks_just_before_it_and_just_after():
    told: list[float] = []
    pace = Pace(Scripted(1.0, 3.0, 5.0))
    pace.note(1.0, told.append)
    pace.settle()
    pace.note(1.0, told.append)
    pace.note(2.0, told.append)
    pace.settle()
    assert told == [0.5, 0.25, 0.5]


def test_of_a_piece_of_work_that_takes_too_long_two_yardsticks_say_nothing():
    told: list[float] = []
    pace = Pace(Scripted(1.0, 1.0))
    pace.note(1.01 * LONGEST, told.append)
    pace.settle()
    assert math.isnan(told[0])


def test_nothing_is_told_twice():
    told: list[float] = []
    pace = Pace(Scripted(1.0, 1.0, 1.0))
    pace.note(1.0, told.append)
    pace.settle()
    pace.settle()
    assert told == [1.0]


def test_as_many_yardsticks_of_work_count_as_many():
    yardstick, stopwatch = Yardstick(), PacedStopwatch()
    meter = Meter(stopwatch)
    for _ in range(3):
        with meter.of("round", 1):
            for _ in range(20):
                yardstick.seconds()
    stopwatch.settle()
    # A machine that is shared may change its pace within.
    assert meter.books["round", 1].yardsticks == pytest.approx(60, rel=0.5)


def test_before_it_is_settled_nobody_has_spent_any():
    stopwatch = PacedStopwatch()
    meter = Meter(stopwatch)
    with meter.of("round", 1):
        pass
    assert meter.books["round", 1].yardsticks == 0.0
    assert meter.books["round", 1].cpu > 0.0
