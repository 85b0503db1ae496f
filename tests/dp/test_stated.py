"""What is promised or spent is never shown as less than it is, and what is left never as more."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest

from dp.stated import ROUNDING, exact, is_covered, no_less, no_more, odds

EPSILONS = [0.004, 0.04, 0.3, 2.174490, 0.0, 1e-9, 2.675, 7.9999999, 8.0, 1234.5678, 1e300]


def number(text: str) -> Fraction:
    return Fraction(text.replace(",", "").replace(" * 10^", "e"))


@pytest.mark.parametrize("value", EPSILONS)
@pytest.mark.parametrize("places", [2, 3, 4])
def test_a_figure_is_at_the_shown_place_above_or_below_and_less_than_one_off(value, places):
    above, below = number(no_less(value, places)), number(no_more(value, places))
    assert below <= Fraction(repr(value)) <= above
    assert float(below) <= value <= float(above)
    assert above - below <= Fraction(1, 10**places)


def test_control_as_figures_are_usually_rounded_some_are_below():
    assert [value for value in (0.004, 2.174490) if Fraction(f"{value:.2f}") >= Fraction(value)] == []


@pytest.mark.parametrize("value", EPSILONS)
def test_a_limit_is_shown_as_it_was_set(value):
    assert float(exact(value)) == value


@pytest.mark.parametrize("epsilon", [0.004, 0.04, 0.3, 2.174490, 4.7, 12.0, 34.53, 34.54, 49.73, 59.8674, 600.0])
def test_odds_change_by_no_more_than_is_said(epsilon):
    assert number(odds(epsilon)) >= Fraction(math.exp(epsilon))
    assert float(number(odds(epsilon))) <= math.exp(epsilon) * 1.01


def test_whole_figures_stay_and_what_is_no_number_is_said():
    assert [no_less(8.0, 2), no_more(8.0, 2), exact(8.0), odds(0.0)] == ["8.00", "8.00", "8", "1.00"]
    assert [no_less(0.04, 2), no_more(0.3, 2)] == ["0.04", "0.30"]
    assert no_less(math.inf, 2) == "inf"
    assert odds(49.725) == "3.94 * 10^21"
    assert odds(1000.0) == "e to the power of 1000.00"


@pytest.mark.parametrize("stated", [0.0, 0.3, 2.174490, 8.0, 600.0])
def test_a_stated_epsilon_covers_what_differs_from_it_by_rounding_and_nothing_beyond(stated):
    assert is_covered(stated, stated)
    assert is_covered(stated + 0.9 * ROUNDING, stated)
    assert not is_covered(stated + 1.1 * ROUNDING, stated)
    assert not is_covered(math.nan, stated)
