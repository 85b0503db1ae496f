"""Positions: which is the furthest, and how many must have signed for one to count."""

from __future__ import annotations

from training.position import Position, furthest


def at(sums, state=b"same", statistics=1):
    return Position(statistics, sums, state)


def test_the_furthest_position_is_one_that_more_are_at_than_may_lie():
    assert furthest([at(1), at(1), at(2), at(2), at(9)], most_liars=1) == at(2)
    assert furthest([at(1), at(1), at(2), at(9)], most_liars=1) == at(1)
    assert furthest([at(1), at(1), at(2), at(9)], most_liars=0) == at(9)


def test_where_nobody_agrees_there_is_none():
    assert furthest([], most_liars=0) is None
    assert furthest([at(1), at(2), at(3)], most_liars=1) is None


def test_to_be_as_far_is_not_to_be_in_the_same_state():
    assert furthest([at(3, b"one"), at(3, b"other"), at(2), at(2)], most_liars=1) == at(2)


def test_of_two_states_as_far_the_one_of_more_members_counts():
    positions = [at(3, b"few")] * 2 + [at(3, b"many")] * 3
    for order in (positions, positions[::-1]):
        assert furthest(order, most_liars=1) == at(3, b"many")


def test_training_is_further_than_statistics():
    assert furthest([at(0, statistics=1)] * 2 + [at(0, statistics=0)] * 3, most_liars=1) == at(0, statistics=1)
    assert furthest([at(1)] * 2 + [at(0)] * 3, most_liars=1) == at(1)
