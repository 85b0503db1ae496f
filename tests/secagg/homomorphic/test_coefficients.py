"""The sum of packed elements is the packed sum of elements, right up to where a sum would no longer be one element."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secagg.encoding.ring import Ring
from secagg.homomorphic import coefficients
from secagg.homomorphic.coefficients import Packing, Splitting, arrangement
from secagg.homomorphic.parameters import ALLOWED, approximate_plain_bits, exact_plain_bits

# Every width with every number of elements that fit into 52 bits, the most that either encryption has room for.
PACKINGS = [Packing(Ring(bits), k) for bits in range(16, 53) for k in range(1, 52 // bits + 1)]
packings = st.sampled_from(PACKINGS)
hospitals = st.integers(1, 1000)
wide = st.integers(51, 64)


def added(values: list[np.ndarray], bits: int) -> np.ndarray:
    """What BFV makes of coefficients: their sum modulo 2^T."""
    total = np.zeros_like(values[0])
    for value in values:
        assert value.dtype == np.uint64
        assert int(value.max(initial=0)) < 1 << bits
        total = (total + value) & np.uint64((1 << bits) - 1)
    return total


def summed(arranged: Packing | Splitting, vectors: list[np.ndarray]) -> list[int]:
    """The sum of signed vectors as it comes out at the other end."""
    ring, length = arranged.ring, len(vectors[0])
    values = [arranged.values(arranged.pack(ring.from_signed(vector))) for vector in vectors]
    for value in values:
        assert len(value) == arranged.packed_count(length) * arranged.values_per_packed
    packed = arranged.from_values(added(values, arranged.plain_bits))
    return ring.to_signed(arranged.unpack(packed, length)).tolist()


def drawn(data: st.DataObject, largest: int, length: int) -> np.ndarray:
    """Signed numbers of at most ``largest``: often the extremes."""
    one = st.one_of(st.integers(-largest, largest), st.sampled_from([-largest, largest, 0, -1, 1]))
    numbers = data.draw(st.lists(one, min_size=length, max_size=length))
    return np.array([max(-largest, min(largest, number)) for number in numbers], np.int64)


@settings(deadline=None)
@given(packing=packings, contributors=st.integers(1, 8), length=st.integers(1, 12), data=st.data())
def test_the_sum_of_packed_elements_is_the_packed_sum_of_elements(packing, contributors, length, data):
    largest = packing.ring.largest // contributors
    vectors = [drawn(data, largest, length) for _ in range(contributors)]
    assert summed(packing, vectors) == sum(vectors).tolist()


@settings(deadline=None)
@given(bits=wide, contributors=st.integers(1, 8), length=st.integers(1, 12), data=st.data())
def test_the_sum_of_split_elements_is_the_split_sum_of_elements(bits, contributors, length, data):
    splitting = Splitting(Ring(bits), contributors)
    vectors = [drawn(data, splitting.ring.largest // contributors, length) for _ in range(contributors)]
    assert summed(splitting, vectors) == sum(vectors).tolist()


@given(packing=packings, contributors=hospitals, sign=st.sampled_from([1, -1]))
def test_all_at_their_largest_do_not_overflow(packing, contributors, sign):
    """n times floor((2^(b-1) - 1) / n) in every element, all of one sign, and of alternating signs."""
    largest = sign * (packing.ring.largest // contributors)
    for one in ([largest] * 3, [largest, -largest, largest], [-largest, largest, largest]):
        vector = np.array(one, np.int64)
        total = packing.from_values(times(packing, vector, contributors))
        assert packing.ring.to_signed(packing.unpack(total, 3)).tolist() == (contributors * vector).tolist()


def times(arranged: Packing | Splitting, vector: np.ndarray, contributors: int) -> np.ndarray:
    """The sum of as many equal vectors, as coefficients."""
    values = arranged.values(arranged.pack(arranged.ring.from_signed(vector)))
    return (values * np.uint64(contributors)) & np.uint64((1 << arranged.plain_bits) - 1)


@pytest.mark.parametrize("packing", PACKINGS, ids=lambda packing: f"{packing.per_coefficient}x{packing.ring.bits}")
def test_a_sum_may_be_any_signed_number_of_its_bits_and_one_beyond_is_another(packing):
    ring, largest = packing.ring, packing.ring.largest
    for extreme in (largest, -largest - 1):
        for place in range(packing.per_coefficient):
            # The extreme in one place, and its opposite in all others: what is borrowed must be given back.
            whole = np.full(packing.per_coefficient, -1 - extreme, np.int64)
            whole[place] = extreme
            halves = [whole // 2, whole - whole // 2]
            assert summed(packing, halves) == whole.tolist()
            step = np.zeros_like(whole)
            step[place] = 1 if extreme > 0 else -1
            beyond = summed(packing, [*halves, step])
            assert beyond[place] == -1 - extreme  # Wrapped to the other end,
            assert beyond != (whole + step).tolist()  # which no charter allows to happen.
            assert beyond[:place] == whole[:place].tolist()  # Places below know nothing of it.
            assert all(-largest - 1 <= element <= ring.largest for element in beyond)


@given(bits=wide, contributors=hospitals)
def test_limbs_of_as_many_as_the_charter_has_do_not_wrap_and_could_not_be_many_more(bits, contributors):
    splitting = Splitting(Ring(bits), contributors)
    largest_limb = (1 << 32) - 1
    assert contributors * largest_limb < 1 << splitting.plain_bits
    assert 2 * contributors * (largest_limb + 1) >= 1 << splitting.plain_bits
    # All bits set: -1 in every element.
    minus_one = np.full(3, -1, np.int64)
    total = splitting.from_values(times(splitting, minus_one, contributors))
    assert splitting.ring.to_signed(splitting.unpack(total, 3)).tolist() == [-contributors] * 3


def test_control_limbs_of_twice_as_many_wrap():
    splitting = Splitting(Ring(64), 3)
    minus_one = np.full(3, -1, np.int64)
    total = splitting.from_values(times(splitting, minus_one, 6))
    assert splitting.ring.to_signed(splitting.unpack(total, 3)).tolist() != [-6] * 3


@given(packing=packings, data=st.data())
def test_any_masks_that_cancel_leave_the_sum(packing, data):
    """Under the double lock packed elements are uniform in Z_2^T before they are encrypted."""
    ring, packed_ring = packing.ring, packing.packed_ring
    vectors = [drawn(data, ring.largest // 3, 5) for _ in range(3)]
    masks = [data.draw(st.lists(st.integers(0, 2**64 - 1), min_size=5, max_size=5)) for _ in range(2)]
    masks = [np.array(mask, np.uint64).astype(packed_ring.dtype) for mask in masks]
    masks.append(-(masks[0] + masks[1]))
    values = []
    for vector, mask in zip(vectors, masks, strict=True):
        packed = packing.pack(ring.from_signed(vector))
        packed += mask[: len(packed)]
        values.append(packing.values(packed))
    total = packing.from_values(added(values, packing.plain_bits))
    assert ring.to_signed(packing.unpack(total, 5)).tolist() == sum(vectors).tolist()


@pytest.mark.parametrize("packing", [Packing(Ring(24), 2), Packing(Ring(16), 3), Packing(Ring(40), 1)])
@pytest.mark.parametrize("length", [0, 1, 2, 3, 99_998, 99_999, 100_000])
def test_vectors_longer_than_a_chunk_are_packed_like_short_ones(packing, length, monkeypatch):
    signed = np.random.default_rng(length).integers(-packing.ring.largest, packing.ring.largest, length)
    packed = packing.pack(packing.ring.from_signed(signed))
    np.testing.assert_array_equal(packing.ring.to_signed(packing.unpack(packed, length)), signed)
    monkeypatch.setattr(coefficients, "_CHUNK", 3 << 10)
    np.testing.assert_array_equal(packing.pack(packing.ring.from_signed(signed)), packed)


def test_packing_leaves_the_elements_as_they_are():
    for arranged in (Packing(Ring(24), 2), Splitting(Ring(64), 5)):
        elements = arranged.ring.from_signed(np.arange(-5, 6, dtype=np.int64))
        before = elements.copy()
        packed = arranged.pack(elements)
        packed[:] = 0
        np.testing.assert_array_equal(elements, before)


@pytest.mark.parametrize("plain_bits", [exact_plain_bits, approximate_plain_bits])
@pytest.mark.parametrize("parameters", ALLOWED.values(), ids=lambda parameters: parameters.name)
@given(bits=st.integers(16, 64), contributors=st.integers(3, 1000), length=st.integers(1, 1 << 32))
def test_every_ring_finds_an_arrangement_within_the_bits_that_noise_leaves(
    plain_bits, parameters, bits, contributors, length
):
    widest = plain_bits(parameters, contributors, 2 * length + parameters.degree)
    chosen = arrangement(Ring(bits), contributors, widest)
    assert chosen.plain_bits <= widest
    assert chosen.ring == Ring(bits)
    assert chosen.packed_count(length) * chosen.values_per_packed <= 2 * length
    if isinstance(chosen, Packing):
        assert chosen.plain_bits + bits > widest
        assert chosen.packed_ring.bits == chosen.plain_bits
    else:
        assert bits > widest
