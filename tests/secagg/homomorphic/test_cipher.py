"""Ciphertexts: what only the secret opens, what anybody adds, and that both are SEAL's own to the bit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tenseal import sealapi

from secagg.errors import InputError
from secagg.homomorphic import serialized
from secagg.homomorphic.cipher import BlockSums, Cipher, check_fresh
from secagg.homomorphic.parameters import Encryption
from secagg.homomorphic.seal import Channel, make_context
from secagg.homomorphic.serialized import _array_head, coefficients_in
from secagg.homomorphic.spec import SEED_SIZE, CipherSpec
from secagg.homomorphic.words import pack_words, unpack_words, words_size
from secagg.labels import digest
from tests.support.ciphers import (
    LARGE,
    SEED,
    SMALL,
    at_roots,
    bfv,
    cipher_for,
    ckks,
    decrypted,
    encrypted,
    noise_of,
    phase,
    polynomials,
    secret_of,
    sum_of,
    summed,
    taken,
)
from tests.support.errors import reason_of
from tests.support.seal_releases import another_seal, with_another_generator

OTHER_SEED = bytes(range(1, 65))
SPECS = [bfv(), bfv(20), bfv(50), ckks(), ckks(20), ckks(52), bfv(48, LARGE), ckks(46, LARGE)]
MOST_SUMMED = 12
specs = pytest.mark.parametrize(
    "spec", SPECS, ids=lambda spec: f"{spec.encryption}-{spec.bits}-{spec.parameters.degree}"
)

encryptions = pytest.mark.parametrize("spec", [bfv(), ckks()], ids=lambda spec: spec.encryption)


def drawn(spec: CipherSpec, seed: int, length: int | None = None) -> np.ndarray:
    length = spec.block if length is None else length
    generator = np.random.default_rng(seed)
    if spec.encryption is Encryption.CKKS:
        largest = (1 << (spec.bits - 1)) // MOST_SUMMED
        return modulo(spec, generator.integers(-largest, largest, length).view(np.uint64))
    return generator.integers(0, 1 << spec.bits, length, dtype=np.uint64)


def plain_sum(spec: CipherSpec, vectors: list[np.ndarray]) -> np.ndarray:
    return modulo(spec, sum(vectors))


def modulo(spec: CipherSpec, values: np.ndarray) -> np.ndarray:
    return values & np.uint64((1 << spec.bits) - 1)


# --- Round trips ---------------------------------------------------------------------------------------------


@specs
@pytest.mark.parametrize("length", [0, 1, 2, 4095, 4096])
def test_what_was_encrypted_is_what_is_decrypted_and_zeros_fill_the_block(spec, length):
    cipher, values = cipher_for(spec), drawn(spec, length, length)
    # What went through it before must not fill the block: it would be other hospitals' in the sum.
    encrypted(cipher, np.ones(spec.block, np.uint64))
    opened = decrypted(cipher, summed(spec, [encrypted(cipher, values)]))
    assert len(opened) == spec.block
    np.testing.assert_array_equal(opened[: len(values)], values)
    assert not opened[len(values) :].any()


@specs
def test_the_sum_of_ciphertexts_is_the_ciphertext_of_the_sum(spec):
    cipher, vectors = cipher_for(spec), [drawn(spec, seed) for seed in range(MOST_SUMMED)]
    total = summed(spec, [encrypted(cipher, vector) for vector in vectors])
    np.testing.assert_array_equal(decrypted(cipher, total), plain_sum(spec, vectors))


@settings(max_examples=15, deadline=None)
@given(bits=st.integers(2, 50), contributors=st.integers(1, 5), seed=st.integers(0, 2**32 - 1))
def test_modulo_any_power_of_two_the_sum_is_exact(bits, contributors, seed):
    spec = bfv(bits)
    cipher, vectors = cipher_for(spec), [drawn(spec, seed + i) for i in range(contributors)]
    total = summed(spec, [encrypted(cipher, vector) for vector in vectors])
    np.testing.assert_array_equal(decrypted(cipher, total), plain_sum(spec, vectors))


@specs
def test_ciphertexts_may_be_added_in_any_order(spec):
    cipher, generator = cipher_for(spec), np.random.default_rng(1)
    blocks = [encrypted(cipher, drawn(spec, seed)) for seed in range(5)]
    totals = {summed(spec, [blocks[i] for i in generator.permutation(5)]) for _ in range(4)}
    assert len(totals) == 1


def test_blocks_are_added_apart_from_one_another():
    spec = bfv()
    cipher, sums = cipher_for(spec), BlockSums(spec, 3)
    vectors = {block: [drawn(spec, 10 * block + i) for i in range(2)] for block in range(3)}
    for i in range(2):
        for block in (2, 0, 1):
            sums.add(block, memoryview(encrypted(cipher, vectors[block][i])))
    for block in (1, 2, 0):
        opened = decrypted(cipher, taken(sums, spec, block))
        np.testing.assert_array_equal(opened, plain_sum(spec, vectors[block]))


# --- The secret ----------------------------------------------------------------------------------------------


@specs
def test_the_same_seed_opens_and_another_does_not(spec):
    values = drawn(spec, 1)
    total = summed(spec, [encrypted(Cipher(spec, SEED), values)])
    np.testing.assert_array_equal(decrypted(Cipher(spec, SEED), total), values)
    wrong = decrypted(Cipher(spec, OTHER_SEED), total)
    assert np.count_nonzero(wrong == values) < 5


@specs
def test_a_fingerprint_tells_secrets_apart_and_purposes_and_scales_too(spec):
    first, again, other = Cipher(spec, SEED), Cipher(spec, SEED), Cipher(spec, OTHER_SEED)
    scaled = Cipher(replace(spec, bits=spec.bits + 1), SEED)
    assert first.fingerprint(b"one") == again.fingerprint(b"one")
    found = {cipher.fingerprint(b"one") for cipher in (first, other, scaled)} | {first.fingerprint(b"two")}
    assert len(found) == 4


@encryptions
def test_a_fingerprint_is_of_the_secrets_transform_which_integers_give_too(spec):
    residues = at_roots(SMALL, [digit % SMALL.modulus for digit in secret_of(SEED)])
    data = np.array(residues, "<u8").tobytes()
    assert cipher_for(spec).fingerprint(b"one") == digest("homomorphic secret", data, b"one", spec.factor_bits)


@specs
def test_under_another_release_of_seal_the_fingerprint_is_the_same_and_what_one_encrypts_the_other_opens(spec):
    values = drawn(spec, 1)
    with another_seal():
        theirs = Cipher(spec, SEED)
        fingerprint, block = theirs.fingerprint(b"one"), encrypted(theirs, values)
        total = summed(spec, [block])
    ours = Cipher(spec, SEED)
    assert ours.fingerprint(b"one") == fingerprint
    assert summed(spec, [block]) == total
    np.testing.assert_array_equal(decrypted(ours, total), values)


def test_control_as_seal_serializes_it_a_secret_tells_releases_apart():
    channel = Channel(2 * 8 * 4096)
    with another_seal():
        theirs = channel.content(Cipher(bfv(), SEED)._secret)
    ours = channel.content(Cipher(bfv(), SEED)._secret)
    assert ours != theirs
    np.testing.assert_array_equal(coefficients_in(ours), coefficients_in(theirs))


@encryptions
def test_encryption_draws_from_the_operating_system_although_the_secret_comes_from_a_seed(spec):
    """Two of the same values, by one cipher and by two of the same seed, share neither polynomial nor noise."""
    secret = secret_of(SEED)
    values, first, second = drawn(spec, 1), Cipher(spec, SEED), Cipher(spec, SEED)
    blocks = [encrypted(cipher, values) for cipher in (first, first, second, second)]
    assert len({block[:SEED_SIZE] for block in blocks}) == 4
    assert len({block[SEED_SIZE:] for block in blocks}) == 4
    totals = [summed(spec, [block]) for block in blocks]
    assert len({tuple(polynomials(spec, total)[1]) for total in totals}) == 4
    noises = np.array([noise_of(spec, total, values, secret) for total in totals], float)
    for i in range(4):
        for j in range(i):
            assert abs(np.corrcoef(noises[i], noises[j])[0, 1]) < 0.08  # 5 standard deviations of chance


def test_control_a_context_with_a_seed_encrypts_the_same_way_twice():
    """Which is why none such encrypts: the noise of one would be the noise of the other."""
    contents = []
    for _ in range(2):
        context = make_context(SMALL, Encryption.BFV, 20, SEED)
        encryptor = sealapi.Encryptor(context, sealapi.KeyGenerator(context).secret_key())
        contents.append(Channel(2 * 8 * 4096).content(encryptor.encrypt_symmetric(sealapi.Plaintext("1"))))
    assert contents[0] == contents[1]


def test_no_secret_is_in_what_leaves_and_none_in_a_repr():
    spec = bfv(20)
    cipher = Cipher(spec, SEED)
    shown = f"{cipher!r} {cipher} {cipher._secret!r} "
    key = Channel(2 * 8 * 4096).content(cipher._secret)
    for hidden in (SEED, key[:64], key[48:112]):
        assert hidden.hex() not in shown
        assert repr(hidden)[2:-1] not in shown
        assert hidden not in encrypted(cipher, drawn(spec, 1))
    assert SEED not in key


# --- Without the secret --------------------------------------------------------------------------------------


@encryptions
def test_a_sum_tells_nothing_to_who_guesses_among_values_without_the_secret(spec):
    """Two vectors far apart: what a coordinator sees of either looks the same to the tests that it has."""
    zeros, ones = np.zeros(4096, np.uint64), np.full(4096, (1 << 48) - 1, np.uint64)
    for values in (zeros, ones):
        first, second = polynomials(spec, summed(spec, [encrypted(cipher_for(spec), values) for _ in range(3)]))
        for polynomial in (first, second):
            top = np.array([residue >> 56 for residue in polynomial])
            counts = np.bincount(top, minlength=16)
            # Chi-squared with 15 degrees of freedom: above 60 once in ten million times.
            assert ((counts - 256) ** 2 / 256).sum() < 60


def test_what_adds_holds_no_key_and_cannot_open():
    sums = BlockSums(bfv(), 1)
    held = [type(value) for value in vars(sums).values()]
    assert not {sealapi.SecretKey, sealapi.Decryptor, sealapi.Encryptor, sealapi.KeyGenerator} & set(held)
    assert not hasattr(sums, "decrypt")


# --- SEAL's own ----------------------------------------------------------------------------------------------


def seal_blocks(cipher: Cipher, vectors: list[np.ndarray]) -> list[tuple[object, bytes]]:
    """SEAL's ciphertexts of these vectors, and each as SEAL would have sent it."""
    channel, made = Channel(2 * 8 * cipher.spec.block), []
    for vector in vectors:
        cipher._plaintexts.fill(cipher._plaintext, vector)
        content = channel.content(cipher._encryptor.encrypt_symmetric(cipher._plaintext))
        item = sealapi.Ciphertext(cipher._context)
        channel.load(item, cipher._context, content)
        made.append((item, content))
    return made


def fresh_of(spec: CipherSpec, content: bytes) -> bytes:
    """The same as a fresh block of ours."""
    start = len(content) - SEED_SIZE - 17 - 8 * spec.block
    words = np.frombuffer(content, "<u8", spec.block, start)
    block = bytearray(spec.fresh_block_size)
    block[:SEED_SIZE] = content[-SEED_SIZE:]
    pack_words(words, memoryview(block)[SEED_SIZE:])
    return bytes(block)


@specs
def test_what_we_put_around_a_fresh_block_is_what_seal_puts_around_it(spec):
    cipher = cipher_for(spec)
    ((_, content),) = seal_blocks(cipher, [drawn(spec, 1)])
    block = memoryview(fresh_of(spec, content))
    words = unpack_words(block[SEED_SIZE:], spec.block)
    ours = cipher._format
    assert ours.before_fresh + words.tobytes() + ours.before_seed + block[:SEED_SIZE] == content


@specs
def test_the_sum_is_that_of_seals_own_evaluator_bit_for_bit(spec):
    cipher = cipher_for(spec)
    made = seal_blocks(cipher, [drawn(spec, seed) for seed in range(6)])
    total = sealapi.Ciphertext(cipher._context)
    evaluator = sealapi.Evaluator(cipher._context)
    evaluator.add_many([item for item, _ in made], total)
    content = Channel(2 * 8 * spec.block).content(total)
    ours = summed(spec, [fresh_of(spec, content) for _, content in made])
    words = np.concatenate([np.array(polynomial, np.uint64) for polynomial in polynomials(spec, ours)])
    assert cipher._format.before_sum + words.tobytes() == content


@specs
def test_the_second_polynomial_comes_from_the_seed_alone_and_as_seal_makes_it(spec):
    cipher = cipher_for(spec)
    (one,), (other,) = (seal_blocks(cipher, [drawn(spec, seed)]) for seed in (1, 2))
    swapped = fresh_of(spec, one[1])[:SEED_SIZE] + fresh_of(spec, other[1])[SEED_SIZE:]
    assert polynomials(spec, summed(spec, [swapped]))[1] == polynomials(spec, summed(spec, [fresh_of(spec, one[1])]))[1]


def test_a_release_that_writes_ciphertexts_in_another_form_is_refused(monkeypatch):
    # One field more, as a later release of SEAL might have.
    monkeypatch.setattr(serialized, "_array_head", lambda count: bytes(8) + _array_head(count))
    with pytest.raises(InputError) as caught:
        Cipher(bfv(), SEED)
    assert caught.value.reason == "other-tenseal"


@encryptions
@pytest.mark.parametrize("make", [lambda spec: Cipher(spec, SEED), lambda spec: BlockSums(spec, 1)])
def test_a_release_that_expands_seeds_to_other_polynomials_is_refused_where_one_encrypts_and_where_one_adds(
    monkeypatch, spec, make
):
    # SHAKE256, as a later release might mean by the mark of Blake2xb.
    monkeypatch.setattr(serialized, "_GENERATOR", b"\2")
    with pytest.raises(InputError) as caught:
        make(spec)
    assert caught.value.reason == "other-tenseal"


@specs
def test_a_build_whose_seeds_are_those_of_another_generator_encrypts_nothing(monkeypatch, spec):
    cipher, values = Cipher(spec, SEED), drawn(spec, 1)
    with_another_generator(monkeypatch)
    with pytest.raises(InputError) as caught:
        encrypted(cipher, values)
    assert caught.value.reason == "other-tenseal"


# --- From outside --------------------------------------------------------------------------------------------


@specs
def test_a_fresh_vector_is_checked_as_a_whole(spec):
    cipher = cipher_for(spec)
    blocks = [encrypted(cipher, drawn(spec, seed)) for seed in range(2)]
    vector = b"".join(blocks)
    check_fresh(spec, 2, memoryview(vector))
    for wrong in (vector[:-1], vector + b"\0", blocks[0], b""):
        assert reason_of(check_fresh, spec, 2, memoryview(wrong)) == "wrong-length"
    # The last residue of the last block.
    words = np.zeros(spec.block, np.uint64)
    words[-1] = spec.parameters.modulus
    broken = bytearray(vector)
    pack_words(words, memoryview(broken)[-words_size(spec.block) :])
    assert reason_of(check_fresh, spec, 2, memoryview(broken)) == "malformed"


@settings(max_examples=30, deadline=None)
@given(seed=st.binary(min_size=SEED_SIZE, max_size=SEED_SIZE), filling=st.integers(0, SMALL.modulus - 1))
def test_any_seed_and_any_residues_are_added_as_they_are(seed, filling):
    """SEAL has no objection to anything that `check_fresh` lets pass, so that nothing fails half added."""
    spec = bfv()
    block = bytearray(spec.fresh_block_size)
    block[:SEED_SIZE] = seed
    pack_words(np.full(spec.block, filling, np.uint64), memoryview(block)[SEED_SIZE:])
    check_fresh(spec, 1, memoryview(block))
    total = summed(spec, [bytes(block)])
    assert polynomials(spec, total)[0] == [filling] * spec.block
    assert len(decrypted(cipher_for(spec), total)) == spec.block


@specs
def test_a_sum_of_another_length_or_with_no_residue_is_not_opened(spec):
    cipher = cipher_for(spec)
    total = summed(spec, [encrypted(cipher, drawn(spec, 1))])
    for wrong in (total[:-1], total + b"\0", b""):
        assert reason_of(cipher.decrypt, memoryview(wrong)) == "wrong-length"
    first, second = polynomials(spec, total)
    for broken in (
        sum_of(spec, [*first[:-1], spec.parameters.modulus], second),
        sum_of(spec, first, [(1 << 60) - 1, *second[1:]]),
    ):
        assert reason_of(cipher.decrypt, memoryview(broken)) == "malformed"


@specs
def test_a_sum_whose_second_polynomial_is_zero_opens_to_what_the_first_one_says(spec):
    """SEAL calls such a ciphertext transparent: it hides nothing. What is in it was never a hospital's."""
    if spec.encryption is Encryption.CKKS:
        # As values at the roots, which of a constant are all the same.
        constant = [3 << spec.scale_bits] * spec.block
    else:
        constant = [3 * (spec.parameters.modulus >> spec.bits)] + [0] * (spec.block - 1)
    opened = decrypted(cipher_for(spec), sum_of(spec, constant, [0] * spec.block))
    assert opened.tolist() == [3] + [0] * (spec.block - 1)


@specs
def test_a_sum_of_zeros_alone_opens_to_zeros(spec):
    """Nothing of SEAL's comes out of it: that nobody sent it, its tag shows."""
    zeros = [0] * spec.block
    assert not decrypted(cipher_for(spec), sum_of(spec, zeros, zeros)).any()


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), which=st.sampled_from([bfv(20), ckks()]))
def test_any_residues_open_to_something(seed, which):
    generator = np.random.default_rng(seed)
    first, second = (generator.integers(0, SMALL.modulus, which.block, dtype=np.uint64) for _ in range(2))
    opened = decrypted(cipher_for(which), sum_of(which, first, second))
    assert len(opened) == which.block
    assert int(opened.max()) < 1 << which.bits


def test_what_opens_is_the_nearest_value_and_nothing_of_the_noise():
    """Whatever the ciphertext, decryption gives round(2^T / q (c_0 + c_1 s)): computed here with integers."""
    spec, secret = bfv(20), secret_of(SEED)
    modulus, plain = SMALL.modulus, 1 << 20
    generator = np.random.default_rng(3)
    total = sum_of(spec, *(generator.integers(0, modulus, 4096, dtype=np.uint64) for _ in range(2)))
    expected = [
        (2 * coefficient * plain + modulus) // (2 * modulus) % plain for coefficient in phase(spec, total, secret)
    ]
    assert decrypted(cipher_for(spec), total).tolist() == expected


def test_so_it_is_under_ckks_where_it_is_the_signed_number_nearest_to_what_the_scale_goes_into():
    spec, secret = ckks(20), secret_of(SEED)
    modulus, scale = SMALL.modulus, 1 << spec.scale_bits
    generator = np.random.default_rng(3)
    total = sum_of(spec, *(generator.integers(0, modulus, 4096, dtype=np.uint64) for _ in range(2)))
    signed = [coefficient - modulus * (2 * coefficient > modulus) for coefficient in phase(spec, total, secret)]
    expected = [(2 * coefficient + scale) // (2 * scale) % (1 << 20) for coefficient in signed]
    assert decrypted(cipher_for(spec), total).tolist() == expected
