"""Ring elements survive packing for every width, and bytes that no packing makes are refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secagg.encoding import Ring, add_packed, pack, pack_into, packed_size, packing, unpack
from secagg.errors import RemoteProtocolError

widths = st.integers(16, 64)


@settings(deadline=None)
@given(bits=widths, length=st.integers(0, 200), seed=st.integers(0, 2**32 - 1))
def test_unpacking_gives_back_what_was_packed(bits, length, seed):
    ring = Ring(bits)
    elements = np.random.default_rng(seed).integers(0, 2**bits - 1, length, np.uint64, endpoint=True)
    data = pack(elements.astype(ring.dtype), ring)
    assert len(data) == packed_size(length, bits)
    np.testing.assert_array_equal(unpack(data, length, ring), elements)


@given(bits=widths, values=st.lists(st.integers(0, 2**64 - 1), max_size=20))
def test_packing_is_the_integer_whose_bits_are_the_elements(bits, values):
    ring = Ring(bits)
    whole = sum((value % 2**bits) << (bits * index) for index, value in enumerate(values))
    elements = np.array([value % 2 ** (8 * ring.dtype.itemsize) for value in values], ring.dtype)
    assert pack(elements, ring) == whole.to_bytes(packed_size(len(values), bits), "little")


@pytest.mark.parametrize("bits", [17, 20, 24, 33])
def test_vectors_longer_than_a_chunk_are_packed_like_short_ones(bits, monkeypatch):
    ring = Ring(bits)
    elements = np.random.default_rng(bits).integers(0, 2**bits, 1000).astype(ring.dtype)
    at_once = pack(elements, ring)
    monkeypatch.setattr(packing, "_CHUNK", 64)
    assert pack(elements, ring) == at_once
    np.testing.assert_array_equal(unpack(at_once, 1000, ring), elements)


@settings(deadline=None)
@given(bits=widths, eighths=st.integers(0, 12), rest=st.integers(0, 50), seed=st.integers(0, 2**32 - 1))
def test_a_vector_packed_in_two_parts_in_either_order_is_the_vector_packed(bits, eighths, rest, seed):
    ring, start = Ring(bits), 8 * eighths
    elements = np.random.default_rng(seed).integers(0, 2**64 - 1, start + rest, np.uint64).astype(ring.dtype)
    parts = [(0, elements[:start]), (start, elements[start:])]
    for order in (parts, parts[::-1]):
        packed = bytearray(packed_size(len(elements), bits))
        for place, part in order:
            pack_into(packed, part, ring, place)
        assert packed == pack(elements, ring)


@settings(deadline=None)
@given(bits=widths, length=st.integers(0, 200), seed=st.integers(0, 2**32 - 1))
def test_adding_packed_elements_is_adding_them(bits, length, seed):
    ring, generator = Ring(bits), np.random.default_rng(seed)
    total, elements = (generator.integers(0, 2**64 - 1, length, np.uint64).astype(ring.dtype) for _ in range(2))
    expected = (total + elements) & ring.dtype.type(2**bits - 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packing, "_CHUNK", 64)
        # At an odd place, as within a message.
        add_packed(total, memoryview(b"-" + pack(elements, ring))[1:], ring)
    ring.reduce(total)
    np.testing.assert_array_equal(total, expected)


@pytest.mark.parametrize("wrong", [bytes(7), bytes(9), bytes(7) + b"\x10"])
def test_bytes_that_are_no_vector_of_the_length_are_added_to_nothing(wrong):
    total = np.arange(3, dtype="<u4")
    with pytest.raises(RemoteProtocolError):
        add_packed(total, wrong, Ring(20))
    np.testing.assert_array_equal(total, np.arange(3))


@pytest.mark.parametrize(("bits", "length"), [(17, 1), (20, 1), (20, 3), (31, 5), (63, 7)])
def test_bits_after_the_last_element_must_be_zero(bits, length):
    ring = Ring(bits)
    data = bytearray(pack(ring.zeros(length), ring))
    for bit in range(length * bits % 8, 8):
        data[-1] = 1 << bit
        with pytest.raises(RemoteProtocolError) as caught:
            unpack(bytes(data), length, ring)
        assert caught.value.reason == "malformed"
    data[-1] = 1 << (length * bits % 8 - 1)
    assert unpack(bytes(data), length, ring)[-1] != 0


@pytest.mark.parametrize("bits", [16, 20, 24, 64])
@pytest.mark.parametrize("change", [-1, 1, 100])
def test_a_vector_of_another_length_is_refused(bits, change):
    with pytest.raises(RemoteProtocolError) as caught:
        unpack(bytes(packed_size(10, bits) + change), 10, Ring(bits))
    assert caught.value.reason == "wrong-length"


@pytest.mark.parametrize("bits", [15, 65, 0, -1])
def test_a_ring_outside_16_to_64_bits_cannot_be_made(bits):
    with pytest.raises(ValueError, match="outside 16 to 64"):
        Ring(bits)


@given(bits=widths, data=st.data())
def test_signed_numbers_survive_the_ring(bits, data):
    ring = Ring(bits)
    values = np.array(data.draw(st.lists(st.integers(-ring.largest - 1, ring.largest), max_size=10)), np.int64)
    np.testing.assert_array_equal(ring.to_signed(ring.from_signed(values)), values)
