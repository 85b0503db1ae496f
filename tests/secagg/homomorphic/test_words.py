"""Residues survive packing, as 60 bits each; bytes that hold none are refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secagg.errors import RemoteProtocolError
from secagg.homomorphic.parameters import ALLOWED
from secagg.homomorphic.words import check_each, pack_words, unpack_each, unpack_words, words_size

MODULUS = ALLOWED["n4096-q60"].modulus
residues = st.one_of(st.integers(0, MODULUS - 1), st.sampled_from([0, 1, MODULUS - 1]))
lists = st.integers(1, 5).flatmap(lambda columns: st.lists(residues, min_size=16 * columns, max_size=16 * columns))


def packed(words: list[int]) -> bytes:
    out = bytearray(words_size(len(words)))
    pack_words(np.array(words, np.uint64), memoryview(out))
    return bytes(out)


def check(data: bytes | memoryview) -> None:
    check_each(np.frombuffer(data, "<u8")[np.newaxis], MODULUS)


def unpacked(data: bytes | memoryview, count: int) -> list[int]:
    check(data)
    return unpack_words(memoryview(data), count).tolist()


def refusal(data: bytes) -> str:
    with pytest.raises(RemoteProtocolError) as caught:
        check(data)
    return caught.value.reason


def rows_of(*polynomials: bytes) -> np.ndarray:
    """With eight bytes between them that are none of them."""
    data = b"".join(b"\xff" * 8 + polynomial for polynomial in polynomials)
    return np.frombuffer(data, "<u8").reshape(len(polynomials), -1)[:, 1:]


@given(words=lists)
def test_unpacking_gives_back_what_was_packed(words):
    assert unpacked(packed(words), len(words)) == words


@given(words=lists)
def test_the_layout_is_that_of_the_document(words):
    """Fifteen of sixteen have a word each, in its upper 60 bits; of the others there are four bits in each of 15."""
    last = len(words) // 16
    own, spread = words[: 15 * last], words[15 * last :]
    expected = [16 * value + (spread[place % last] >> 4 * (place // last) & 15) for place, value in enumerate(own)]
    assert packed(words) == b"".join(value.to_bytes(8, "little") for value in expected)


@pytest.mark.parametrize("count", [16, 4096, 8192])
def test_a_residue_takes_60_bits(count):
    assert words_size(count) == 60 * count // 8


@settings(max_examples=30)
@given(words=lists, position=st.integers(0, 79), beyond=st.integers(0, (1 << 60) - 1 - MODULUS))
def test_every_number_that_is_no_residue_is_refused_wherever_it_is(words, position, beyond):
    position %= len(words)
    wrong = [*words[:position], MODULUS + beyond, *words[position + 1 :]]
    assert refusal(packed(wrong)) == "malformed"


def test_the_modulus_itself_is_refused_and_one_below_is_taken_at_every_position():
    count = 64
    for position in range(count):
        words = [0] * count
        words[position] = MODULUS - 1
        assert unpacked(packed(words), count) == words
        words[position] = MODULUS
        assert refusal(packed(words)) == "malformed"


@given(data=st.binary(min_size=120, max_size=120))
def test_any_bytes_are_either_refused_or_packed_again_to_themselves(data):
    """There is one way to write residues."""
    try:
        words = unpacked(data, 16)
    except RemoteProtocolError:
        return
    assert packed(words) == data


def test_packing_takes_what_it_is_given_at_any_address():
    words = np.arange(16, dtype=np.uint64)
    whole = bytearray(words_size(16) + 3)
    pack_words(words, memoryview(whole)[3:])
    assert unpacked(memoryview(whole)[3:], 16) == words.tolist()
    assert whole[:3] == bytes(3)


def test_many_polynomials_are_checked_and_unpacked_as_one_by_one():
    generator = np.random.default_rng(1)
    polynomials = [generator.integers(0, MODULUS, 64).tolist() for _ in range(40)]
    rows = rows_of(*map(packed, polynomials))
    check_each(rows, MODULUS)
    assert unpack_each(rows).tolist() == polynomials


@pytest.mark.parametrize("place", [0, 59, 60, 63])
@pytest.mark.parametrize("polynomial", [0, 15, 16, 39])
def test_one_wrong_residue_among_many_polynomials_is_found(polynomial, place):
    polynomials = [[0] * 64 for _ in range(40)]
    polynomials[polynomial][place] = MODULUS
    with pytest.raises(RemoteProtocolError, match="no residue"):
        check_each(rows_of(*map(packed, polynomials)), MODULUS)
