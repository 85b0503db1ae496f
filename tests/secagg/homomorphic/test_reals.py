"""Under CKKS a sum is off by less than its bound, and the bound is below half a step: rounded, the sum is exact."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secagg.encoding.ring import Ring
from secagg.homomorphic.parameters import ALLOWED, ParameterSet
from secagg.homomorphic.reals import RealNumbers, error_bound, scale_bits
from tests.support.ciphers import SMALL, cipher_for, ckks, decrypted, encrypted, summed
from tests.vectors.generate import FOLDER

allowed = pytest.mark.parametrize("parameters", ALLOWED.values(), ids=lambda parameters: parameters.name)
widths = st.integers(16, 64)
hospitals = st.integers(1, 1000)
MOST = 4 * (1 << 32)


def drawn(numbers: RealNumbers, length: int, generator: np.random.Generator) -> np.ndarray:
    """One hospital's ring elements, signed: at its largest, of either sign, every other time."""
    largest = numbers.ring.largest // numbers.contributors
    vector = generator.integers(-largest, largest + 1, length)
    vector[::2] = largest * generator.choice([-1, 1], len(vector[::2]))
    return vector


# --- The bound -----------------------------------------------------------------------------------------------


@allowed
@given(bits=widths, contributors=hospitals)
def test_rounding_gives_the_exact_sum_for_every_charter_there_can_be(parameters, bits, contributors):
    assert error_bound(parameters, RealNumbers(Ring(bits), contributors), MOST) < 0.1


@allowed
@given(bits=widths, contributors=hospitals)
def test_the_scale_leaves_the_largest_sum_within_the_modulus_and_one_bit_more_would_not(parameters, bits, contributors):
    numbers = RealNumbers(Ring(bits), contributors)
    largest = math.sqrt(2) * numbers.largest_sum * 2 ** scale_bits(parameters, numbers)
    assert largest < 0.4 * parameters.modulus
    assert 8 * numbers.largest_sum * 2 ** scale_bits(parameters, numbers) > parameters.modulus / 2


@given(bits=widths, contributors=hospitals)
def test_the_scale_is_that_of_the_document(bits, contributors):
    """2^(57 - L): L is b up to 32 bits, and above, 16 and the bits of n."""
    largest = bits if bits <= 32 else 16 + contributors.bit_length()
    assert scale_bits(SMALL, RealNumbers(Ring(bits), contributors)) == 57 - largest


def test_so_are_the_recorded_scales():
    recorded = json.loads((FOLDER / "encrypted.json").read_text())["scale_bits"]
    assert len(recorded) == 5
    for one in recorded:
        largest = one["bits"] if one["bits"] <= 32 else 16 + one["contributors"].bit_length()
        assert one["scale_bits"] == 57 - largest


def test_the_bound_counts_rounding_as_if_all_of_it_went_one_way():
    """It follows from the values, and could: no average may be assumed of it."""
    numbers = RealNumbers(Ring(24), 1000)
    factors = np.abs(np.cos(np.pi * np.arange(SMALL.degree) * 5 / SMALL.degree))
    worst = 1000 * 0.5 * factors.sum() / 2 ** scale_bits(SMALL, numbers)
    assert error_bound(SMALL, numbers, 1) > worst


# --- Elements as reals ---------------------------------------------------------------------------------------


@given(bits=widths, seed=st.integers(0, 2**32 - 1), length=st.integers(0, 20))
def test_elements_become_reals_and_come_back(bits, seed, length):
    numbers = RealNumbers(Ring(bits), 5)
    generator = np.random.default_rng(seed)
    signed = generator.integers(-numbers.ring.largest - 1, numbers.ring.largest, length, endpoint=True)
    packed = numbers.pack(numbers.ring.from_signed(signed))
    values = numbers.values(packed)
    assert values.dtype == np.float64
    assert len(values) == numbers.packed_count(length) * numbers.values_per_packed
    assert np.array_equal(values, np.rint(values))
    shaken = values + generator.uniform(-0.49, 0.49, len(values))
    back = numbers.ring.to_signed(numbers.unpack(numbers.from_values(shaken), length))
    assert back.tolist() == signed.tolist()


@given(bits=widths, contributors=st.integers(1, 9), seed=st.integers(0, 2**32 - 1))
def test_the_sum_of_reals_is_the_real_of_the_sum(bits, contributors, seed):
    numbers, generator = RealNumbers(Ring(bits), contributors), np.random.default_rng(seed)
    vectors = [drawn(numbers, 7, generator) for _ in range(contributors)]
    total = sum(numbers.values(numbers.ring.from_signed(vector)) for vector in vectors)
    assert np.abs(total).max() <= numbers.largest_sum
    assert numbers.ring.to_signed(numbers.from_values(total)).tolist() == sum(vectors).tolist()


# --- Real ciphertexts ----------------------------------------------------------------------------------------


def sum_and_error(
    parameters: ParameterSet, bits: int, contributors: int, seed: int
) -> tuple[np.ndarray, np.ndarray, float]:
    """The sum as it comes out, rounded; the true one; and by how much the worst real was off."""
    numbers, generator = RealNumbers(Ring(bits), contributors), np.random.default_rng(seed)
    spec = ckks(scale_bits(parameters, numbers), parameters)
    length = spec.block // numbers.values_per_packed
    cipher, blocks, truth, reals = cipher_for(spec), [], np.zeros(length, np.int64), np.zeros(spec.block)
    for _ in range(contributors):
        vector = drawn(numbers, length, generator)
        values = numbers.values(numbers.ring.from_signed(vector))
        truth, reals = truth + vector, reals + values
        blocks.append(encrypted(cipher, values))
    opened = decrypted(cipher, summed(spec, blocks))
    found = numbers.ring.to_signed(numbers.from_values(opened))
    return found, truth, float(np.abs(opened - reals).max())


@allowed
@pytest.mark.parametrize(
    ("bits", "contributors"), [(16, 3), (24, 3), (24, 100), (32, 20), (32, 200), (33, 20), (48, 5), (64, 100)]
)
def test_sums_of_real_ciphertexts_are_off_by_less_than_the_bound_and_exact_once_rounded(parameters, bits, contributors):
    found, truth, worst = sum_and_error(parameters, bits, contributors, bits)
    np.testing.assert_array_equal(found, truth)
    bound = error_bound(parameters, RealNumbers(Ring(bits), contributors), parameters.degree)
    assert worst < bound
    print(f"{parameters.name}, {bits} bits, {contributors} hospitals: off by {worst:.2g}, bound {bound:.2g}")


def test_a_thousand_hospitals_at_their_largest_are_off_by_less_than_the_bound():
    found, truth, worst = sum_and_error(SMALL, 32, 1000, 7)
    np.testing.assert_array_equal(found, truth)
    bound = error_bound(SMALL, RealNumbers(Ring(32), 1000), SMALL.degree)
    assert worst < bound < 0.5
    print(f"1000 hospitals: off by {worst:.2g}, bound {bound:.2g}")


def test_control_without_rounding_a_sum_is_not_exact_and_shows_noise():
    """The noise is what tells of the secret (Li and Micciancio 2021): there is some, and rounding takes it off."""
    numbers = RealNumbers(Ring(24), 3)
    spec = ckks(scale_bits(SMALL, numbers))
    blocks = [encrypted(cipher_for(spec), np.arange(4096.0)) for _ in range(3)]
    opened = decrypted(cipher_for(spec), summed(spec, blocks))
    truth = 3 * np.arange(4096.0)
    assert np.count_nonzero(opened != truth) > 1000
    assert np.array_equal(numbers.from_values(opened), truth.astype(np.uint32))


def test_reals_whose_signs_pile_up_in_one_coefficient_stay_clear_of_half_the_modulus():
    """The slots of a polynomial with one large coefficient are all as large as it: sqrt(2) times either real."""
    numbers = RealNumbers(Ring(24), 3)
    spec, largest = ckks(scale_bits(SMALL, numbers)), float(numbers.ring.largest // 3)
    for signs in (np.ones(4096), np.where(np.arange(4096) % 2, -1.0, 1.0)):
        blocks = [encrypted(cipher_for(spec), largest * signs) for _ in range(3)]
        opened = decrypted(cipher_for(spec), summed(spec, blocks))
        np.testing.assert_array_equal(np.rint(opened), 3 * largest * signs)


@settings(max_examples=20, deadline=None)
@given(bits=widths, contributors=st.integers(1, 6), seed=st.integers(0, 2**32 - 1))
def test_any_width_is_exact_once_rounded(bits, contributors, seed):
    found, truth, _ = sum_and_error(SMALL, bits, contributors, seed)
    np.testing.assert_array_equal(found, truth)
