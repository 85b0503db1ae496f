"""Two different purposes or contexts never give the same label, whatever their fields contain."""

from __future__ import annotations

import hashlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secagg.labels import digest, extend, extend_by_pair, label

purposes = st.text(max_size=8)
contexts = st.lists(st.binary(max_size=10), max_size=4)
counters = st.integers(0, (1 << 64) - 1)


def parse(data: bytes) -> list[bytes]:
    """The fields of a label: that this function exists is why labels cannot collide."""
    fields = []
    while data:
        size = int.from_bytes(data[:4], "big")
        fields.append(data[4 : 4 + size])
        data = data[4 + size :]
    return fields


@given(purpose=purposes, context=contexts)
def test_a_label_can_be_read_back_into_its_fields(purpose, context):
    assert parse(label(purpose, *context)) == [b"secagg/1", purpose.encode(), *context]


@given(purpose=purposes, context=contexts, other_purpose=purposes, other_context=contexts)
def test_different_fields_give_different_labels(purpose, context, other_purpose, other_context):
    same = (purpose, context) == (other_purpose, other_context)
    assert (label(purpose, *context) == label(other_purpose, *other_context)) == same


def test_moving_a_byte_from_one_field_to_the_next_changes_the_label():
    assert label("p", b"ab", b"c") != label("p", b"a", b"bc")
    assert label("p", b"ab") != label("p", b"ab", b"")
    assert label("pa", b"b") != label("p", b"ab")


def test_without_length_prefixes_the_same_fields_would_collide():
    assert b"".join([b"p", b"ab", b"c"]) == b"".join([b"p", b"a", b"bc"])


def test_integers_are_eight_bytes_big_endian():
    assert label("p", 258) == label("p", bytes([0, 0, 0, 0, 0, 0, 1, 2]))


@given(context=contexts, first=counters, second=counters)
def test_a_label_may_be_made_in_two_parts_and_its_last_two_integers_at_once(context, first, second):
    whole, start = label("p", *context, first, second), label("p", *context)
    assert extend(start, first, second) == extend_by_pair(start, first, second) == whole


@pytest.mark.parametrize("number", [-1, 1 << 64])
def test_an_integer_outside_64_bits_is_refused(number):
    with pytest.raises(OverflowError):
        label("p", number)
    with pytest.raises(struct.error):
        extend_by_pair(b"", 0, number)


def test_a_digest_is_sha256_of_the_label_and_the_data():
    assert digest("p", b"data", 1) == hashlib.sha256(label("p", 1) + b"data").digest()
