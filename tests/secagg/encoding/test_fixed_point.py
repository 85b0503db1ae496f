"""Real numbers go into the ring and come back; what does not fit is refused by name, and no sum can overflow."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secagg.encoding import Layout, Ring, Section
from secagg.errors import InputError

widths = st.integers(16, 64)
contributors = st.integers(2, 40)


def layout(bits: int, count: int, limit: float, length: int = 1) -> Layout:
    return Layout(Ring(bits), count, (Section("weights", length, limit),))


def reason(layout: Layout, *values: object) -> InputError:
    with pytest.raises(InputError) as caught:
        layout.encode([np.array(value) for value in values])
    assert caught.value.culprit == "weights"
    return caught.value.reason


@settings(deadline=None)
@given(bits=widths, count=contributors, limit=st.floats(1e-6, 1e6), seed=st.integers(0, 2**32 - 1))
def test_decoding_the_sum_gives_the_sum_of_the_decoded(bits, count, limit, seed):
    made = layout(bits, count, limit, 8)
    generator = np.random.default_rng(seed)
    encoded = [made.encode([generator.uniform(-limit, limit, 8)]) for _ in range(count)]
    total = made.ring.zeros(8)
    exact = np.zeros(8, object)
    for one in encoded:
        total += one
        exact += made.ring.to_signed(one).astype(object)
    np.testing.assert_array_equal(made.ring.to_signed(total).astype(object), exact)
    (decoded,) = made.decode(total)
    parts = sum(made.decode(one)[0] for one in encoded)
    np.testing.assert_allclose(decoded, parts, rtol=0, atol=limit * count * 2.0**-50)


@settings(deadline=None)
@given(bits=widths, count=contributors, limit=st.floats(1e-6, 1e6), value=st.floats(-1, 1))
def test_a_number_comes_back_within_half_a_step_of_the_grid(bits, count, limit, value):
    made = layout(bits, count, limit)
    (decoded,) = made.decode(made.encode([np.array([value * limit])]))
    step = 1 / made.scale(made.sections[0])
    assert abs(decoded[0] - value * limit) <= step / 2 + limit * 2.0**-50


@settings(deadline=None)
@given(bits=widths, count=st.integers(2, 1000), limit=st.floats(1e-6, 1e6))
def test_the_limit_itself_is_accepted_and_all_contributors_at_it_do_not_overflow(bits, count, limit):
    if Ring(bits).largest < count:
        return
    made = layout(bits, count, limit, 2)
    encoded = made.ring.to_signed(made.encode([np.array([limit, -limit])]))
    assert abs(int(encoded[0])) <= made.q_max
    assert int(encoded[0]) * count <= made.ring.largest
    assert int(encoded[1]) * count >= -made.ring.largest - 1


@pytest.mark.parametrize("bits", [16, 24, 32, 40])
@pytest.mark.parametrize("sign", [1, -1])
def test_one_step_of_the_grid_past_the_limit_is_refused(bits, sign):
    made = layout(bits, 5, 10.0)
    step = 1 / made.scale(made.sections[0])
    assert reason(made, [sign * (10.0 + step)]) == "out-of-range"


def test_the_bound_is_tight_one_more_contributor_at_the_limit_would_overflow():
    made = layout(16, 3, 1.0)
    assert made.q_max == 10922
    highest = made.encode([np.array([1.0])])
    total = sum((highest for _ in range(3)), made.ring.zeros(1))
    assert made.ring.to_signed(total)[0] == 32766
    assert made.ring.to_signed(total + highest)[0] < 0


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_number_that_is_not_finite_names_its_section(value):
    assert reason(layout(24, 5, 1.0, 2), [0.0, value]) == "not-finite"


@pytest.mark.parametrize("value", [1.01, -1.01, 2.0, 1e30, -1e300])
@pytest.mark.parametrize("bits", [16, 32, 64])
def test_a_number_out_of_range_names_its_section(value, bits):
    assert reason(layout(bits, 3, 1.0), [value]) == "out-of-range"


@pytest.mark.parametrize("values", [[], [0.0], [0.0, 0.0, 0.0]])
def test_a_section_of_another_length_is_named(values):
    assert reason(layout(24, 3, 1.0, 2), values) == "wrong-length"


def test_the_section_that_is_wrong_is_the_one_that_is_named():
    made = Layout(Ring(24), 3, (Section("first", 1, 1.0), Section("second", 1, 1.0)))
    with pytest.raises(InputError) as caught:
        made.encode([np.array([0.5]), np.array([1.5])])
    assert caught.value.culprit == "second"


@given(values=st.lists(st.integers(-1000, 1000), min_size=4, max_size=4))
def test_whole_numbers_are_carried_exactly(values):
    made = Layout(Ring(24), 4, (Section("counts", 4, 1000, "whole"),))
    encoded = made.encode([np.array(values)])
    total = encoded + encoded + encoded + encoded
    (decoded,) = made.decode(total)
    assert decoded.tolist() == [4 * value for value in values]


@pytest.mark.parametrize(("bits", "count", "limit", "fits"), [(16, 32, 1023, True), (16, 32, 1024, False)])
def test_whole_numbers_that_do_not_fit_are_refused_when_the_layout_is_made(bits, count, limit, fits):
    sections = (Section("weight", 1, limit, "whole"),)
    if fits:
        assert Layout(Ring(bits), count, sections).q_max == limit
        return
    with pytest.raises(InputError) as caught:
        Layout(Ring(bits), count, sections)
    assert (caught.value.reason, caught.value.culprit) == ("field-too-narrow", "weight")


def test_a_field_too_narrow_for_the_number_of_contributors_is_refused():
    with pytest.raises(InputError) as caught:
        layout(16, 1 << 15, 1.0)
    assert caught.value.reason == "field-too-narrow"
    assert layout(16, (1 << 15) - 1, 1.0).q_max == 1


def test_sections_keep_their_order_and_places():
    made = Layout(Ring(32), 3, (Section("a", 2, 1.0), Section("b", 1, 100, "whole"), Section("c", 3, 5.0)))
    values = [np.array([0.5, -0.5]), np.array([7]), np.array([1.0, 2.0, 5.0])]
    for given_, decoded in zip(values, made.decode(made.encode(values)), strict=True):
        np.testing.assert_allclose(decoded, given_, atol=1e-8)
    assert made.length == 6
