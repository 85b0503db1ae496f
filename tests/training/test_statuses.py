"""What the coordinator makes of what members say of themselves."""

from __future__ import annotations

from training.messages import Status
from training.reached import Reached
from training.statuses import cohort_told

LIARS = 1
REACHED = Reached(0, 3)
FOUR, OTHERS = (1, 2, 3, 4), (2, 3, 4, 5)


def said(cohort, steps=3):
    return Status(1, 5, 0, steps, False, bytes(32), b"", cohort)


def test_a_cohort_counts_that_more_say_than_may_lie():
    assert cohort_told([said(FOUR), said(FOUR), said(())], REACHED, LIARS) == FOUR
    assert cohort_told([said(FOUR), said(()), said(())], REACHED, LIARS) == ()


def test_of_two_the_one_that_more_say():
    assert cohort_told([said(FOUR)] * 2 + [said(OTHERS)] * 3, REACHED, LIARS) == OTHERS


def test_the_word_of_who_is_elsewhere_is_of_another_sum():
    assert cohort_told([said(FOUR), said(FOUR, steps=2)], REACHED, LIARS) == ()


def test_nobody_says_anything():
    assert cohort_told([], REACHED, LIARS) == ()
