"""Residues survive packing, as 60 bits each; bytes that hold none are refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secagg.errors import RemoteProtocolError
from secagg.homomorphic.parameters import ALLOWED
from secagg.homomorphic.words import check_words, pack_words, unpack_words, words_size

MODULUS = ALLOWED["n4096-q60"].modulus
even = st.integers(0, 40).map(lambda half: 2 * half)
residues = st.one_of(st.integers(0, MODULUS - 1), st.sampled_from([0, 1, MODULUS - 1]))
lists = even.flatmap(lambda count: st.lists(residues, min_size=count, max_size=count))


def packed(words: list[int]) -> bytes:
    out = bytearray(words_size(len(words)))
    pack_words(np.array(words, np.uint64), memoryview(out))
    return bytes(out)


def unpacked(data: bytes, count: int) -> list[int]:
    check_words(memoryview(data), count, MODULUS)
    return unpack_words(memoryview(data), count).tolist()


def refusal(*arguments):
    with pytest.raises(RemoteProtocolError) as caught:
        unpacked(*arguments)
    return caught.value.reason


@given(words=lists)
def test_unpacking_gives_back_what_was_packed(words):
    assert unpacked(packed(words), len(words)) == words


@given(words=lists)
def test_the_layout_is_that_of_the_document(words):
    """Element i and element i + N/2 share 15 bytes: 64 bits in the first plane, 32, 16 and 8 in the others."""
    half = len(words) // 2
    pairs = [lower + (upper << 60) for lower, upper in zip(words[:half], words[half:], strict=True)]
    planes = b""
    for start, size in ((0, 8), (64, 4), (96, 2), (112, 1)):
        planes += b"".join((pair >> start & (1 << 8 * size) - 1).to_bytes(size, "little") for pair in pairs)
    assert packed(words) == planes


@pytest.mark.parametrize("count", [0, 2, 4096, 8192])
def test_a_residue_takes_60_bits(count):
    assert words_size(count) == 60 * count // 8


@settings(max_examples=30)
@given(words=lists.filter(bool), position=st.integers(0, 79), beyond=st.integers(0, (1 << 60) - 1 - MODULUS))
def test_every_number_that_is_no_residue_is_refused_wherever_it_is(words, position, beyond):
    position %= len(words)
    wrong = [*words[:position], MODULUS + beyond, *words[position + 1 :]]
    assert refusal(packed(wrong), len(words)) == "malformed"


def test_the_modulus_itself_is_refused_and_one_below_is_taken_at_every_position():
    count = 64
    for position in range(count):
        words = [0] * count
        words[position] = MODULUS - 1
        assert unpacked(packed(words), count) == words
        words[position] = MODULUS
        assert refusal(packed(words), count) == "malformed"


@given(words=lists, change=st.integers(-15, 15).filter(bool))
def test_another_length_is_refused(words, change):
    data = packed(words)
    other = data[:change] if change < 0 else data + bytes(change)
    if other != data:
        assert refusal(other, len(words)) == "wrong-length"


@given(data=st.binary(min_size=60, max_size=60))
def test_any_bytes_are_either_refused_or_packed_again_to_themselves(data):
    """There is one way to write residues."""
    try:
        words = unpacked(data, 8)
    except RemoteProtocolError:
        return
    assert packed(words) == data


def test_packing_takes_what_it_is_given_at_any_address():
    words = np.arange(8, dtype=np.uint64)
    whole = bytearray(words_size(8) + 3)
    pack_words(words, memoryview(whole)[3:])
    assert unpacked(bytes(whole[3:]), 8) == words.tolist()
    assert whole[:3] == bytes(3)
