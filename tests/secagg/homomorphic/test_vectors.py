"""Whole vectors through real ciphertexts, of any length and width: the sum is exact, and a bad one changes nothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secagg.encoding.ring import Ring
from secagg.errors import RemoteProtocolError
from secagg.homomorphic.form import EncryptedForm, approximate_form, exact_form
from secagg.homomorphic.vectors import CiphertextSum, decrypt_vector, encrypt_vector
from secagg.homomorphic.words import pack_words, words_size
from tests.support.ciphers import LARGE, SMALL, cipher_for

lengths = st.one_of(st.integers(1, 20), st.sampled_from([4095, 4096, 4097, 8191, 8192, 8193, 12_288, 12_289, 20_000]))


def fresh(form: EncryptedForm, vector: np.ndarray) -> bytes:
    out = bytearray(form.fresh_size)
    encrypt_vector(form.codec.pack(vector), form, cipher_for(form.spec), memoryview(out))
    return bytes(out)


def total_of(form: EncryptedForm, sums: CiphertextSum) -> bytes:
    out = bytearray(form.sum_size)
    sums.take(memoryview(out))
    return bytes(out)


def opened(form: EncryptedForm, total: bytes) -> list[int]:
    packed = decrypt_vector(memoryview(total), form, cipher_for(form.spec))
    return form.codec.ring.to_signed(form.codec.unpack(packed, form.length)).tolist()


def drawn(form: EncryptedForm, contributors: int, generator: np.random.Generator) -> np.ndarray:
    """One of so many hospitals' signed vector, at its largest in every third place."""
    largest = form.codec.ring.largest // contributors
    vector = generator.integers(-largest, largest + 1, form.length)
    vector[::3] = generator.choice([-largest, largest], len(vector[::3]))
    return vector


@settings(max_examples=40, deadline=None)
@given(
    make=st.sampled_from([exact_form, approximate_form]),
    parameters=st.sampled_from([SMALL, LARGE]),
    bits=st.integers(16, 64),
    length=lengths,
    seed=st.integers(0, 2**32 - 1),
)
def test_the_sum_of_encrypted_vectors_is_exact(make, parameters, bits, length, seed):
    form, generator = make(parameters, Ring(bits), length, 4), np.random.default_rng(seed)
    vectors, sums = [drawn(form, 4, generator) for _ in range(3)], CiphertextSum(form)
    for vector in vectors:
        sums.add(memoryview(fresh(form, form.codec.ring.from_signed(vector))))
    assert opened(form, total_of(form, sums)) == sum(vectors).tolist()


@pytest.fixture(params=[exact_form, approximate_form], ids=["bfv", "ckks"])
def form(request) -> EncryptedForm:
    return request.param(SMALL, Ring(24), 10_000, 4)


def test_a_vector_that_is_refused_leaves_the_sum_as_it_was(form):
    generator = np.random.default_rng(1)
    vectors = [drawn(form, 4, generator) for _ in range(2)]
    good = [fresh(form, form.codec.ring.from_signed(vector)) for vector in vectors]
    sums = CiphertextSum(form)
    sums.add(memoryview(good[0]))
    # Only the last block of it is no ciphertext: all before it must not have been added.
    late, words = bytearray(good[1]), np.zeros(form.spec.block, np.uint64)
    words[-1] = form.spec.parameters.modulus
    pack_words(words, memoryview(late)[-words_size(len(words)) :])
    for wrong in (good[1][:-1], good[1] + b"\0", b"", bytes(late), b"\xff" * len(good[1])):
        with pytest.raises(RemoteProtocolError) as caught:
            sums.add(memoryview(wrong))
        assert caught.value.reason in ("wrong-length", "malformed")
    sums.add(memoryview(good[1]))
    assert opened(form, total_of(form, sums)) == sum(vectors).tolist()


def test_blocks_that_change_places_give_another_sum(form):
    vector = drawn(form, 4, np.random.default_rng(2))
    data, size = fresh(form, form.codec.ring.from_signed(vector)), form.spec.fresh_block_size
    swapped = data[size : 2 * size] + data[:size] + data[2 * size :]
    sums = CiphertextSum(form)
    sums.add(memoryview(swapped))
    assert opened(form, total_of(form, sums)) != vector.tolist()


def test_two_vectors_of_the_same_values_have_no_block_in_common(form):
    elements, size = form.codec.ring.zeros(form.length), form.spec.fresh_block_size
    first, second = fresh(form, elements), fresh(form, elements)
    blocks = [data[start : start + size] for data in (first, second) for start in range(0, len(data), size)]
    assert len(set(blocks)) == 2 * form.blocks
    assert len({block[:64] for block in blocks}) == 2 * form.blocks


def test_encrypting_leaves_the_packed_elements_as_they_are(form):
    packed = form.codec.pack(form.codec.ring.from_signed(drawn(form, 4, np.random.default_rng(3))))
    before = packed.copy()
    encrypt_vector(packed, form, cipher_for(form.spec), memoryview(bytearray(form.fresh_size)))
    np.testing.assert_array_equal(packed, before)
