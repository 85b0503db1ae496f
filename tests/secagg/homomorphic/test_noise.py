"""The noise of real ciphertexts, measured with integers, has the law that the bound assumes and stays within it."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from secagg.homomorphic.cipher import BlockSums
from secagg.homomorphic.parameters import exact_plain_bits, noise_bound
from tests.support.ciphers import (
    LARGE,
    SEED,
    SMALL,
    bfv,
    cipher_for,
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


def sum_of_many(spec, contributors: int, seed: int) -> tuple[bytes, np.ndarray]:
    """A real sum of uniform values, and what it must open to."""
    cipher, generator, sums = cipher_for(spec), np.random.default_rng(seed), BlockSums(spec, 1)
    truth = np.zeros(spec.block, np.uint64)
    for _ in range(contributors):
        values = generator.integers(0, 1 << spec.bits, spec.block, dtype=np.uint64)
        truth += values
        sums.add(0, memoryview(encrypted(cipher, values)))
    return taken(sums, spec), truth & np.uint64((1 << spec.bits) - 1)


def noise_of_zeros(blocks: int) -> np.ndarray:
    """The noise of fresh ciphertexts of zeros, which rounds nothing, shape (blocks, N)."""
    spec, secret = bfv(48), secret_of(SEED)
    zeros = np.zeros(spec.block, np.uint64)
    fresh = [summed(spec, [encrypted(cipher_for(spec), zeros)]) for _ in range(blocks)]
    found = np.array([phase(spec, total, secret) for total in fresh], object)
    return np.where(found > SMALL.modulus // 2, found - SMALL.modulus, found).astype(np.int64)


def test_fresh_noise_is_whole_at_most_21_symmetric_and_of_the_variance_that_is_assumed():
    noise = noise_of_zeros(10)
    assert np.abs(noise).max() <= 21
    assert 10.0 < noise.var() < 11.0  # 6 standard deviations of its estimate, either way
    assert abs(noise.mean()) < 5 * np.sqrt(VARIANCE / noise.size)
    # Fourth moment of a centred binomial number: 3 - 2 / 42. A uniform number has 1.8.
    assert 2.7 < (noise**4).mean() / noise.var() ** 2 < 3.2


def test_fresh_noise_of_one_coefficient_says_nothing_of_the_next():
    noise = noise_of_zeros(6).astype(float)
    for shift in (1, 2, 2048):
        together = np.corrcoef(noise[:, shift:].ravel(), noise[:, :-shift].ravel())[0, 1]
        assert abs(together) < 0.04


@pytest.mark.parametrize(("parameters", "contributors"), [(SMALL, 1), (SMALL, 3), (SMALL, 100), (LARGE, 100)])
def test_the_noise_of_a_sum_stays_within_the_bound_and_opens_to_the_sum(parameters, contributors):
    check_noise(parameters, contributors)


def test_the_noise_of_a_sum_of_a_thousand_stays_within_the_bound_and_opens_to_the_sum():
    check_noise(SMALL, 1000)


def check_noise(parameters, contributors: int) -> None:
    spec = bfv(exact_plain_bits(parameters, contributors, parameters.degree), parameters)
    total, truth = sum_of_many(spec, contributors, contributors)
    np.testing.assert_array_equal(decrypted(cipher_for(spec), total), truth)
    noise = noise_of(spec, total, truth.tolist(), secret_of(SEED, parameters))
    worst, bound = max(map(abs, noise)), noise_bound(contributors, spec.block)
    print(f"{parameters.name}, {contributors} hospitals, T = {spec.bits}: noise {float(worst):.1f}, bound {bound}")
    assert worst <= bound
    # It is the bound's own law: of standard deviation sqrt(10.5 n), and rounding, of which a twelfth a hospital is due.
    deviation = float(np.std(np.array(noise, float)))
    assert 0.93 < deviation / np.sqrt((VARIANCE + 1 / 12) * contributors) < 1.07


@pytest.mark.parametrize("contributors", [3, 100, 1000])
def test_noise_right_at_the_bound_still_opens_and_half_a_step_does_not(contributors):
    """The worst that the bound allows is put onto a real ciphertext, in both directions."""
    spec, secret = bfv(exact_plain_bits(SMALL, contributors, SMALL.degree)), secret_of(SEED)
    modulus, plain, bound = SMALL.modulus, 1 << spec.bits, noise_bound(contributors, SMALL.degree)
    values = np.random.default_rng(1).integers(0, plain, spec.block, dtype=np.uint64)
    total = summed(spec, [encrypted(cipher_for(spec), values)])
    noise = noise_of(spec, total, values.tolist(), secret)
    half_a_step = Fraction(modulus, 2 * plain)
    assert bound < half_a_step * Fraction(999, 1000)
    for wanted, right in ((bound, True), (-bound, True), (half_a_step + 1, False), (-half_a_step - 1, False)):
        shifted = with_noise(spec, total, [round(wanted - found) for found in noise])
        opened = decrypted(cipher_for(spec), shifted)
        assert np.array_equal(opened, values) is right
        if not right:
            step = 1 if wanted > 0 else -1
            np.testing.assert_array_equal(opened, (values.astype(object) + step) % plain)


def with_noise(spec, total: bytes, more: list[int]) -> bytes:
    """The same sum with this much more noise in its coefficients."""
    first, second = polynomials(spec, total)
    return sum_of(spec, [(value + extra) % SMALL.modulus for value, extra in zip(first, more, strict=True)], second)
