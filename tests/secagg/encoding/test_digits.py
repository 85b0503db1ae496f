"""Digits: exact sums of numbers of very different sizes, the same however the numbers are divided."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from secagg.encoding import Digits
from secagg.encoding.digits import MOST_NUMBERS
from secagg.encoding.moments import SQUARE, VALUE

FINE = Fraction(1, 1 << 80)
WIDE = VALUE.limit

tables = arrays(
    np.float64,
    array_shapes(min_dims=2, max_dims=2, max_side=20),
    elements=st.floats(-WIDE, WIDE, exclude_min=True, exclude_max=True, width=32),
)


def read(elements, windows=VALUE):
    return [windows.total(column) for column in elements.T.tolist()]


def rounded(numbers):
    """The sum of numbers, each to the nearest multiple of 2^-80, ties to even: in integers, as anybody would."""
    return sum(round(Fraction(number) * (1 << 80)) for number in numbers) * FINE


@given(tables)
def test_what_comes_out_is_the_sum_of_all_numbers_on_the_finest_grid_exactly(table):
    assert read(VALUE.add_up(table)) == [rounded(column) for column in table.T.tolist()]


@given(tables, st.randoms(use_true_random=False))
def test_digits_add_up_to_the_same_however_the_numbers_are_divided(table, dice):
    of_all = VALUE.add_up(table)
    divided = [dice.randrange(3) for _ in table]
    parts = [VALUE.add_up(table[[i for i, part in enumerate(divided) if part == n]]) for n in range(3)]
    assert np.array_equal(np.sum(parts, axis=0), of_all)


@pytest.mark.parametrize("number", [WIDE - 2.0**-5, -WIDE + 2.0**-5, 2.0**-48 - 2.0**-80, -(2.0**-80)])
def test_the_digits_of_as_many_numbers_as_there_may_be_stay_within_64_bits(number):
    sums = [MOST_NUMBERS * digit for digit in VALUE.add_up(np.array([[number]]))[:, 0].tolist()]
    assert max(map(abs, sums)) < 1 << 63
    assert VALUE.total(sums) == MOST_NUMBERS * Fraction(number)


def test_a_tie_goes_to_the_even_step():
    ties = np.array([[odd * 2.0**-81 for odd in (1, 3, -1, -3)]])
    assert [total / FINE for total in read(VALUE.add_up(ties))] == [0, 2, 0, -2]


def test_of_no_numbers_the_sum_is_0():
    assert read(VALUE.add_up(np.zeros((0, 2)))) == [0, 0]


def test_the_square_of_every_value_that_there_is_room_for_has_room():
    assert SQUARE.limit == VALUE.limit**2
    largest = float(np.nextafter(np.float32(WIDE), np.float32(0)))
    assert read(SQUARE.add_up(np.array([[largest**2]])), SQUARE) == [Fraction(largest) ** 2]


def test_one_digit_is_a_plain_fixed_point_number():
    assert Digits(count=1, finest=4).add_up(np.array([[-2.5]])).tolist() == [[-40]]
