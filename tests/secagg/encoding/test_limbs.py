"""Wide numbers in limbs: exact sums, and nothing carried between elements."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secagg.encoding import Ring, WideNumber
from secagg.encoding.limbs import LIMB_BITS

RING = Ring(64)
WIDE = WideNumber(limbs=3, fraction_bits=64)
STEP = Fraction(1, 1 << WIDE.fraction_bits)
MOST = WIDE.limit - STEP

steps = st.integers(-(1 << 131) + 1, (1 << 131) - 1)


def elements(number, wide=WIDE):
    return RING.from_signed(np.array(wide.split(number), np.int64))


def joined(total, wide=WIDE):
    return wide.join(RING.to_signed(total).tolist())


@given(st.lists(steps, min_size=1, max_size=20))
def test_the_sum_of_limbs_is_the_sum_of_the_numbers_exactly(numbers):
    total = np.sum([elements(number * STEP) for number in numbers], axis=0, dtype=np.uint64)
    assert joined(total) == sum(numbers) * STEP


@pytest.mark.parametrize("number", [MOST, -MOST, -STEP, Fraction(0), STEP])
def test_as_many_as_half_a_million_hospitals_make_no_element_wrap(number):
    total = elements(number) * np.uint64(1 << 19)
    assert joined(total) == number * (1 << 19)


@given(steps)
def test_all_limbs_but_the_last_are_between_0_and_2_to_the_44(number):
    *lower, last = WIDE.split(number * STEP)
    assert all(0 <= limb < 1 << LIMB_BITS for limb in lower)
    assert -(1 << LIMB_BITS - 1) <= last < 1 << LIMB_BITS - 1


@given(st.floats(-1e20, 1e20))
def test_a_number_between_two_steps_is_rounded_to_the_nearer(number):
    assert abs(joined(elements(Fraction(number))) - Fraction(number)) <= STEP / 2


def test_a_tie_goes_to_the_even_step():
    assert [joined(elements(STEP * Fraction(odd, 2))) / STEP for odd in (1, 3, -1, -3)] == [0, 2, 0, -2]


@pytest.mark.parametrize("number", [WIDE.limit, -WIDE.limit, 2**200, MOST + STEP / 2])
def test_a_number_without_room_is_refused(number):
    with pytest.raises(OverflowError):
        WIDE.split(Fraction(number))


def test_one_limb_is_a_plain_fixed_point_number():
    assert WideNumber(limbs=1, fraction_bits=4).split(Fraction(-5, 2)) == [-40]
