"""A mask is the keystream of its key, whatever the length, and adding then subtracting it leaves nothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secagg.masking import keystream
from secagg.masking.keystream import MaskStreams, SignedKey, add_masks, aligned_zeros
from secagg.masking.prg import CHUNK_BYTES
from tests.support.keystreams import keystream as keystream_of
from tests.support.keystreams import words

KEY = bytes(range(32))


def reference(key: bytes, length: int, dtype: str, chunk: int = CHUNK_BYTES) -> np.ndarray:
    return np.frombuffer(keystream_of(key, length * np.dtype(dtype).itemsize, chunk), dtype)


@pytest.mark.parametrize("dtype", ["<u4", "<u8"])
@pytest.mark.parametrize("length", [0, 1, 3, 4, 5, 1000, 16 * 1024 + 1, 32 * 1024, 32 * 1024 + 1, 100_001])
def test_a_mask_is_the_keystream(dtype, length):
    vector = np.zeros(length, dtype)
    add_masks(vector, [SignedKey(KEY, 1)])
    np.testing.assert_array_equal(vector, reference(KEY, length, dtype))


@settings(deadline=None, max_examples=60)
@given(
    keys=st.lists(st.tuples(st.binary(min_size=32, max_size=32), st.sampled_from([1, -1])), max_size=5),
    length=st.integers(0, 200),
    chunk=st.sampled_from([16, 64, 1024]),
    seed=st.integers(0, 2**32 - 1),
)
def test_masks_are_the_sum_of_signed_keystreams_and_vanish_with_the_opposite_signs(keys, length, chunk, seed):
    start = np.random.default_rng(seed).integers(0, 2**32, length).astype("<u4")
    expected, opposite = start.copy(), [SignedKey(key, -sign) for key, sign in keys]
    for key, sign in keys:
        mask = reference(key, length, "<u4", chunk)
        expected = expected + mask if sign > 0 else expected - mask
    vector = start.copy()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keystream, "CHUNK_BYTES", chunk)
        add_masks(vector, [SignedKey(key, sign) for key, sign in keys])
        np.testing.assert_array_equal(vector, expected)
        add_masks(vector, opposite)
    np.testing.assert_array_equal(vector, start)


@pytest.mark.parametrize("size", [8, 16])
def test_tags_are_masked_by_words_that_no_vector_is_masked_by(size):
    other = bytes(32)
    tags = add_masks(np.zeros(5, "<u4"), [SignedKey(KEY, 1), SignedKey(other, -1)], [7, 8, 9], size)
    masks = zip(words(KEY, size, 3), words(other, size, 3), strict=True)
    assert tags == [(tag + added - taken) % 256**size for tag, (added, taken) in zip([7, 8, 9], masks, strict=True)]


def test_a_piece_begins_where_a_chunk_does():
    streams, out = MaskStreams([SignedKey(KEY, 1)], np.dtype("<u4")), np.zeros(4, "<u4")
    streams.sum_into(CHUNK_BYTES // 4, out)
    np.testing.assert_array_equal(out, reference(KEY, CHUNK_BYTES // 4 + 4, "<u4")[-4:])
    with pytest.raises(ValueError, match="begins at a multiple of 32768 elements, not at 4"):
        streams.sum_into(4, out)


def test_a_key_is_not_in_the_repr():
    assert KEY.hex() not in repr(SignedKey(KEY, 1))
    assert repr(KEY) not in repr(SignedKey(KEY, 1))


@pytest.mark.parametrize("length", [0, 1, 5, CHUNK_BYTES])
def test_zeros_for_adding_begin_with_a_cache_line(length):
    zeros = aligned_zeros(length, np.dtype("<u4"))
    assert zeros.ctypes.data % 64 == 0 or not length
    assert zeros.tolist() == [0] * length
