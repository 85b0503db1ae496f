"""A mask is the AES-256-CTR keystream, whatever the length, and adding then subtracting it leaves nothing."""

from __future__ import annotations

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given, settings
from hypothesis import strategies as st

from secagg.masking import keystream
from secagg.masking.keystream import CHUNK_BYTES, SignedKey, add_masks, aligned_zeros

KEY = bytes(range(32))


def reference(key: bytes, length: int, dtype: str) -> np.ndarray:
    """AES-256 of the counters 0, 1, 2, ... block by block."""
    encryptor = Cipher(algorithms.AES(key), modes.ECB()).encryptor()
    size = length * np.dtype(dtype).itemsize
    blocks = b"".join(encryptor.update(counter.to_bytes(16, "big")) for counter in range(size // 16 + 1))
    return np.frombuffer(blocks[:size], dtype)


def test_nist_sp_800_38a_f_5_5_is_reproduced_by_the_primitive():
    key = bytes.fromhex("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4")
    plain = bytes.fromhex(
        "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51"
        "30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710"
    )
    counter = bytes.fromhex("f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff")
    assert Cipher(algorithms.AES(key), modes.CTR(counter)).encryptor().update(plain).hex() == (
        "601ec313775789a5b7a7f504bbf3d228f443e3ca4d62b59aca84e990cacaf5c5"
        "2b0930daa23de94ce87017ba2d84988ddfc9c58db67aada613c2dd08457941a6"
    )


@pytest.mark.parametrize("dtype", ["<u4", "<u8"])
@pytest.mark.parametrize("length", [0, 1, 3, 4, 5, 1000, 32 * 1024, 32 * 1024 + 1, 100_001])
def test_a_mask_is_the_keystream_from_counter_zero(dtype, length):
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
    vector = start.copy()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keystream, "CHUNK_BYTES", chunk)
        add_masks(vector, [SignedKey(key, sign) for key, sign in keys])
    expected = start.copy()
    for key, sign in keys:
        expected = expected + reference(key, length, "<u4") if sign > 0 else expected - reference(key, length, "<u4")
    np.testing.assert_array_equal(vector, expected)
    add_masks(vector, [SignedKey(key, -sign) for key, sign in keys])
    np.testing.assert_array_equal(vector, start)


def test_a_key_is_not_in_the_repr():
    assert KEY.hex() not in repr(SignedKey(KEY, 1))
    assert repr(KEY) not in repr(SignedKey(KEY, 1))


@pytest.mark.parametrize("length", [0, 1, 5, CHUNK_BYTES])
def test_zeros_for_adding_begin_with_a_cache_line(length):
    zeros = aligned_zeros(length, np.dtype("<u4"))
    assert zeros.ctypes.data % 64 == 0 or not length
    assert zeros.tolist() == [0] * length
