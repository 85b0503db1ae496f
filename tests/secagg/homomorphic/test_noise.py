"""The noise of real ciphertexts, measured with integers, has the law that the bound assumes and stays within it."""

from __future__ import annotations

from fractions import Fraction
from itertools import product

import numpy as np
import pytest

from secagg.encoding.ring import Ring
from secagg.homomorphic.cipher import BlockSums
from secagg.homomorphic.form import EncryptedForm, approximate_form, exact_form
from secagg.homomorphic.parameters import (
    Encryption,
    ParameterSet,
    approximate_plain_bits,
    encryption_noise_bound,
    exact_plain_bits,
    noise_bound,
)
from secagg.homomorphic.spec import CipherSpec
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

VARIANCE = 10.5
# What each contributor's rounding adds to that.
ROUNDING = {Encryption.BFV: 1 / 12, Encryption.CKKS: 0.0}
BOUNDS = {Encryption.BFV: noise_bound, Encryption.CKKS: encryption_noise_bound}
both = pytest.mark.parametrize("encryption", Encryption)


def spec_for(encryption: Encryption, parameters: ParameterSet, contributors: int) -> CipherSpec:
    """With as many bits as the noise of so many leaves."""
    if encryption is Encryption.BFV:
        return bfv(exact_plain_bits(parameters, contributors, parameters.degree), parameters)
    return ckks(approximate_plain_bits(parameters, contributors, parameters.degree), parameters)


def sum_of_many(spec, contributors: int, seed: int) -> tuple[bytes, np.ndarray]:
    """A real sum of uniform values, under CKKS of such as make no sum that wraps, and what it must open to."""
    cipher, generator, sums = cipher_for(spec), np.random.default_rng(seed), BlockSums(spec, 1)
    largest = (1 << (spec.bits - 1)) // (contributors if spec.encryption is Encryption.CKKS else 1)
    truth = np.zeros(spec.block, np.uint64)
    for _ in range(contributors):
        signed = generator.integers(-largest, largest, spec.block)
        values = signed.view(np.uint64) & np.uint64((1 << spec.bits) - 1)
        truth += values
        sums.add(0, memoryview(encrypted(cipher, values)))
    return taken(sums, spec), truth & np.uint64((1 << spec.bits) - 1)


def noise_of_zeros(spec: CipherSpec, blocks: int) -> np.ndarray:
    """The noise of fresh ciphertexts of zeros, which rounds nothing, shape (blocks, N)."""
    secret = secret_of(SEED)
    zeros = np.zeros(spec.block, np.uint64)
    fresh = [summed(spec, [encrypted(cipher_for(spec), zeros)]) for _ in range(blocks)]
    found = np.array([phase(spec, total, secret) for total in fresh], object)
    return np.where(found > SMALL.modulus // 2, found - SMALL.modulus, found).astype(np.int64)


both_specs = pytest.mark.parametrize("spec", [bfv(), ckks()], ids=["bfv", "ckks"])


@both_specs
def test_fresh_noise_is_whole_at_most_21_symmetric_and_of_the_variance_that_is_assumed(spec):
    noise = noise_of_zeros(spec, 10)
    assert np.abs(noise).max() <= 21
    assert 10.0 < noise.var() < 11.0  # 6 standard deviations of its estimate, either way
    assert abs(noise.mean()) < 5 * np.sqrt(VARIANCE / noise.size)
    # Fourth moment of a centred binomial number: 3 - 2 / 42. A uniform number has 1.8.
    assert 2.7 < (noise**4).mean() / noise.var() ** 2 < 3.2


@both_specs
def test_fresh_noise_of_one_coefficient_says_nothing_of_the_next(spec):
    noise = noise_of_zeros(spec, 6).astype(float)
    for shift in (1, 2, 2048):
        together = np.corrcoef(noise[:, shift:].ravel(), noise[:, :-shift].ravel())[0, 1]
        assert abs(together) < 0.04


@both
@pytest.mark.parametrize(
    ("parameters", "contributors"), [(SMALL, 1), (SMALL, 3), (SMALL, 100), (LARGE, 100), (SMALL, 1000)]
)
def test_the_noise_of_a_sum_stays_within_the_bound_and_opens_to_the_sum(encryption, parameters, contributors):
    spec = spec_for(encryption, parameters, contributors)
    total, truth = sum_of_many(spec, contributors, contributors)
    np.testing.assert_array_equal(decrypted(cipher_for(spec), total), truth)
    noise = noise_of(spec, total, truth.tolist(), secret_of(SEED, parameters))
    worst, bound = max(map(abs, noise)), BOUNDS[encryption](contributors, spec.block)
    print(f"{encryption}, {parameters.name}, {contributors} hospitals, T = {spec.bits}: {float(worst)}, bound {bound}")
    assert worst <= bound
    # It is the bound's own law: of standard deviation sqrt(10.5 n), and rounding, of which a twelfth a hospital is due.
    deviation = float(np.std(np.array(noise, float)))
    assert 0.93 < deviation / np.sqrt((VARIANCE + ROUNDING[encryption]) * contributors) < 1.07


@both
@pytest.mark.parametrize("contributors", [3, 100, 1000])
def test_noise_right_at_the_bound_still_opens_and_half_a_step_does_not(encryption, contributors):
    """The worst that the bound allows is put onto a real ciphertext, in both directions."""
    spec, secret = spec_for(encryption, SMALL, contributors), secret_of(SEED)
    plain, bound = 1 << spec.bits, BOUNDS[encryption](contributors, SMALL.degree)
    values = np.random.default_rng(1).integers(0, plain, spec.block, dtype=np.uint64)
    # The largest and the least signed number: nothing is beyond them.
    values[:2] = plain // 2 - 1, plain // 2
    total = summed(spec, [encrypted(cipher_for(spec), values)])
    noise = noise_of(spec, total, values.tolist(), secret)
    step = Fraction(SMALL.modulus, plain) if encryption is Encryption.BFV else Fraction(1 << spec.scale_bits)
    half_a_step = step / 2
    assert bound < half_a_step
    for wanted, right in ((bound, True), (-bound, True), (half_a_step + 1, False), (-half_a_step - 1, False)):
        shifted = with_noise(spec, total, [round(wanted - found) for found in noise])
        opened = decrypted(cipher_for(spec), shifted)
        assert np.array_equal(opened, values) is right
        if not right:
            one = 1 if wanted > 0 else -1
            np.testing.assert_array_equal(opened, (values.astype(object) + one) % plain)


def with_noise(spec, total: bytes, more: list[int]) -> bytes:
    """The same sum with this much more noise in its coefficients."""
    first, second = polynomials(spec, total)
    if spec.encryption is Encryption.CKKS:
        more = at_roots(spec.parameters, more)
    return sum_of(spec, [(value + extra) % SMALL.modulus for value, extra in zip(first, more, strict=True)], second)


@pytest.mark.parametrize("make", [exact_form, approximate_form], ids=["bfv", "ckks"])
@pytest.mark.parametrize(
    ("contributors", "bits"), [*product([3, 100], [16, 24, 25, 32, 49, 51, 64]), (1000, 16), (1000, 64)]
)
def test_sums_at_either_end_of_the_field_are_exact_in_every_coefficient(make, contributors, bits):
    """All of a coefficient at the same end, and neighbours at opposite ones, so that they borrow from each other."""
    form = make(SMALL, Ring(bits), SMALL.degree // 2, contributors)
    largest = form.codec.ring.largest
    patterns = [largest] * 12, [-largest - 1] * 12, [largest, -largest - 1] * 6, [-largest - 1, largest] * 6
    total = np.resize(np.concatenate(patterns), form.length)
    np.testing.assert_array_equal(opened_sum(form, total, contributors), total)


def opened_sum(form: EncryptedForm, total: np.ndarray, contributors: int) -> np.ndarray:
    """Of hospitals that each have as nearly as much of it as the others as whole numbers go."""
    spec, ring = form.spec, form.codec.ring
    cipher, sums = cipher_for(spec), BlockSums(spec, 1)
    for number in range(contributors):
        part = total // contributors + (number < total % contributors)
        values = form.codec.values(form.codec.pack(ring.from_signed(part)))
        sums.add(0, memoryview(encrypted(cipher, values)))
    found = decrypted(cipher, taken(sums, spec))[: form.value_count]
    return ring.to_signed(form.codec.unpack(form.codec.from_values(found), form.length))
