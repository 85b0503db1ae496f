"""Tags are the inner products that the document says, add up like vectors, and cannot be made without the key."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secagg.encoding import Ring
from secagg.masking.tags import tag, tag_size
from tests.support.keystreams import integers, keystream, words

KEY = bytes(range(32))
MEMBERS = 5
BITS = [16, 24, 31, 32, 33, 48, 64]


def coefficients(ring: Ring, count: int) -> list[int]:
    """a_1 .. a_d, straight from the keystream."""
    return integers(keystream(KEY, tag_size(ring) * count), tag_size(ring))


def random_values(ring: Ring, length: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(-ring.largest - 1, ring.largest, length, endpoint=True)


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("length", [1, 2, 8191, 8192, 8193, 16_384, 16_385, 20_000])
def test_a_tag_is_the_offsets_plus_the_inner_product_with_the_keystream(bits, length):
    ring = Ring(bits)
    values = random_values(ring, length, bits)
    offsets = words(KEY, tag_size(ring), MEMBERS)
    products = sum(a * int(x) for a, x in zip(coefficients(ring, length), values, strict=True))
    expected = (offsets[1] + offsets[3] + products) % (1 << 8 * tag_size(ring))
    assert tag(ring.from_signed(values), ring, KEY, [2, 4]) == expected


@settings(max_examples=50, deadline=None)
@given(st.sampled_from(BITS), st.integers(1, 50), st.integers(0, 2**32))
def test_the_sum_of_tags_is_the_tag_of_the_sum(bits, length, seed):
    ring = Ring(bits)
    generator = np.random.default_rng(seed)
    largest = ring.largest // MEMBERS
    vectors = [generator.integers(-largest, largest, length, endpoint=True) for _ in range(MEMBERS)]
    everybody = range(1, MEMBERS + 1)
    tags = [tag(ring.from_signed(v), ring, KEY, [i]) for i, v in zip(everybody, vectors, strict=True)]
    total = ring.from_signed(np.sum(vectors, axis=0))
    assert sum(tags) % (1 << 8 * tag_size(ring)) == tag(total, ring, KEY, everybody)


@pytest.mark.parametrize("bits", BITS)
def test_every_change_of_one_element_by_one_changes_the_tag(bits):
    ring = Ring(bits)
    values = random_values(ring, 200, 1) // 2
    right = tag(ring.from_signed(values), ring, KEY, [1])
    for place in range(len(values)):
        for change in (1, -1):
            wrong = values.copy()
            wrong[place] += change
            assert tag(ring.from_signed(wrong), ring, KEY, [1]) != right


@pytest.mark.parametrize("bits", BITS)
def test_other_contributors_another_key_and_elements_in_another_order_change_the_tag(bits):
    ring = Ring(bits)
    vector = ring.from_signed(random_values(ring, 20, 1))
    right = tag(vector, ring, KEY, [1, 2, 3])
    assert tag(vector, ring, KEY, [1, 2]) != right
    assert tag(vector, ring, KEY, [1, 2, 4]) != right
    assert tag(vector, ring, bytes(32), [1, 2, 3]) != right
    assert tag(vector[::-1].copy(), ring, KEY, [1, 2, 3]) != right


@pytest.mark.parametrize("power", [0, 1, 20, 31])
def test_an_error_that_a_power_of_two_divides_leaves_that_many_bits_of_a_coefficient_unused(power):
    """Why the bound is 2^(v - w): of a_j only the low w - v bits count, so that they can be guessed so much easier."""
    ring = Ring(32)
    base = tag(ring.zeros(3), ring, KEY, [1])
    changed = ring.zeros(3)
    changed[1] = 1 << power
    difference = (tag(changed, ring, KEY, [1]) - base) % 2**64
    coefficient = coefficients(ring, 3)[1]
    signed = -(1 << power) if power == 31 else 1 << power
    assert difference == coefficient * signed % 2**64
    assert difference % 2**power == 0
