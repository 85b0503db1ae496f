"""What a charter says of its encryption is what ciphertexts then do: sums are exact, with room to spare."""

from __future__ import annotations

import os

import numpy as np
import pytest

from secagg.charter import Encoding, Homomorphic, Metrics, Model
from secagg.charter.encryption import encryption_terms, terms_of
from secagg.encoding.ring import Ring
from secagg.errors import InputError
from secagg.homomorphic.cipher import BlockSums, Cipher
from secagg.homomorphic.form import approximate_form, exact_form
from secagg.homomorphic.parameters import ALLOWED, Encryption, parameter_set
from tests.support.consortium import MODEL_DIGEST, make_charter, make_identities

IDENTITIES = make_identities(5)
SMALL = parameter_set("n4096-q60")


def terms_with(**changes):
    return encryption_terms(make_charter(IDENTITIES, **changes))


def test_a_masked_charter_has_none():
    assert terms_with() is None


@pytest.mark.parametrize(
    ("scheme", "encryption"),
    [("bfv", Encryption.BFV), ("double-lock", Encryption.BFV), ("ckks", Encryption.CKKS)],
)
@pytest.mark.parametrize("name", sorted(ALLOWED))
def test_parameters_and_encryption_are_those_of_the_charter(scheme, encryption, name):
    found = terms_with(scheme=scheme, homomorphic=Homomorphic(parameters=name))
    assert (found.spec.parameters.name, found.spec.encryption) == (name, encryption)


@pytest.mark.parametrize(
    ("field_bits", "plain_bits", "numbers"),
    [(16, 48, 3), (17, 34, 2), (24, 48, 2), (25, 50, 2), (26, 26, 1), (50, 50, 1), (51, 35, 0.5), (64, 35, 0.5)],
)
def test_a_coefficient_holds_as_many_numbers_as_fit(field_bits, plain_bits, numbers):
    found = terms_with(scheme="bfv", encoding=Encoding(field_bits=field_bits))
    assert (found.spec.bits, found.numbers_per_value) == (plain_bits, numbers)


@pytest.mark.parametrize(
    ("field_bits", "scale_bits", "numbers"),
    [(16, 11, 3), (17, 8, 3), (24, 11, 2), (26, 7, 2), (27, 32, 1), (52, 7, 1), (53, 24, 0.5), (64, 24, 0.5)],
)
def test_under_ckks_too_and_what_they_leave_is_the_scale(field_bits, scale_bits, numbers):
    found = terms_with(scheme="ckks", encoding=Encoding(field_bits=field_bits))
    assert (found.spec.scale_bits, found.numbers_per_value) == (scale_bits, numbers)


@pytest.mark.parametrize("make", [exact_form, approximate_form])
@pytest.mark.parametrize("parameters", ALLOWED.values(), ids=lambda entry: entry.name)
def test_in_every_charter_that_can_be_noise_stays_below_what_would_do_harm(make, parameters):
    for field_bits in range(16, 65):
        for members in (3, 100, 1000):
            for length in (2, 1_000_000, 1 << 32):
                found = terms_of(make(parameters, Ring(field_bits), length, members))
                assert 0 < found.deviation < found.room, (field_bits, members, length)


def test_the_bound_counts_everything_that_is_in_a_vector():
    # A bound over more coefficients is larger: enough members for it not to be the largest noise there is.
    many = make_identities(60)
    small, large = (
        encryption_terms(
            make_charter(
                many,
                threshold=31,
                scheme="bfv",
                model=Model(digest=MODEL_DIGEST, parameters=10),
                metrics=Metrics(release="exact", cells=cells),
            )
        )
        for cells in (1, 60_000)
    )
    assert small.deviation < large.deviation


@pytest.mark.parametrize("make", [exact_form, approximate_form])
def test_the_noise_of_real_ciphertexts_does_no_harm(make):
    members = 40
    found = terms_of(make(SMALL, Ring(24), 4096, members))
    spec = found.spec
    cipher, sums = Cipher(spec, os.urandom(64)), BlockSums(spec, 1)
    fresh, total = memoryview(bytearray(spec.fresh_block_size)), memoryview(bytearray(spec.sum_block_size))
    expected = np.zeros(spec.block, np.int64)
    for _ in range(members):
        values = np.frombuffer(os.urandom(4 * spec.block), "<u4").astype(np.int64) % (1 << 17)
        cipher.encrypt(values.astype(np.uint64), fresh)
        sums.add(0, fresh)
        expected += values
    sums.take(0, total)
    np.testing.assert_array_equal(cipher.decrypt(total), expected)


def test_one_secret_opens_so_many_sums_and_no_more():
    for epoch_rounds in (1000, 10_000 // 11 + 1):
        with pytest.raises(InputError) as caught:
            make_charter(make_identities(11), scheme="bfv", epoch_rounds=epoch_rounds)
        assert caught.value.reason == "secret-used-too-often"
        assert "--epoch-rounds) to 909 or less" in caught.value.remedy
    for scheme, epoch_rounds in (("bfv", 909), ("mask", 1000)):
        assert make_charter(make_identities(11), scheme=scheme, epoch_rounds=epoch_rounds)
