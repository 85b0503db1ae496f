"""Which parameters are secure enough, and that the noise of a sum stays below its bound: by exact counts of coins."""

from __future__ import annotations

from itertools import count, pairwise
from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tenseal import sealapi

from secagg.homomorphic.parameters import (
    ALLOWED,
    DEFAULT_PARAMETERS,
    FAILURE_BITS,
    SECURE_MODULUS_BITS,
    Encryption,
    ParameterSet,
    approximate_plain_bits,
    encryption_noise_bound,
    exact_plain_bits,
    noise_bound,
    parameter_set,
    require_secure,
)
from secagg.homomorphic.seal import make_context
from secagg.homomorphic.spec import CipherSpec
from tests.support.errors import error_of

# Albrecht et al. 2018, Homomorphic Encryption Standard, table 1, ternary secrets, classical, 128 bits.
STANDARD = {1024: 27, 2048: 54, 4096: 109, 8192: 218, 16384: 438, 32768: 881}
# Sorenson and Webster 2015: of numbers below 3.3e24, the first 13 primes find every composite one.
WITNESSES = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41)
COINS = 42

allowed = pytest.mark.parametrize("parameters", ALLOWED.values(), ids=lambda parameters: parameters.name)
contributors = st.integers(1, 1000)
lengths = st.integers(1, 1 << 34)


def is_prime(number: int) -> bool:
    """Miller and Rabin, with witnesses that decide it."""
    odd, twos = number - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    for witness in WITNESSES:
        power = pow(witness, odd, number)
        if power in (1, number - 1):
            continue
        for _ in range(twos - 1):
            power = power * power % number
            if power == number - 1:
                break
        else:
            return False
    return True


# --- Security ------------------------------------------------------------------------------------------------


def test_the_table_of_secure_moduli_is_that_of_the_standard():
    assert dict(SECURE_MODULUS_BITS) == STANDARD


@pytest.mark.parametrize("degree", STANDARD)
def test_a_modulus_may_have_as_many_bits_as_the_standard_allows_and_not_one_more(degree):
    require_secure(degree, STANDARD[degree])
    assert error_of(require_secure, degree, STANDARD[degree] + 1).reason == "weak-parameters"


@pytest.mark.parametrize("degree", [0, 1, 512, 4095, 4097, 65536, -4096])
def test_a_degree_that_the_standard_does_not_know_is_refused_with_any_modulus(degree):
    assert error_of(require_secure, degree, 1).reason == "weak-parameters"


@allowed
def test_every_allowed_set_is_far_below_what_the_standard_allows(parameters):
    assert parameters.modulus_bits == 60
    assert parameters.modulus_bits <= 0.56 * STANDARD[parameters.degree]
    assert parameter_set(parameters.name) is parameters


@pytest.mark.parametrize("name", ["", "n4096-q60 ", "N4096-Q60", "n2048-q60", "n4096-q109", "../n4096-q60"])
def test_a_set_that_is_not_listed_is_refused(name):
    assert error_of(parameter_set, name).reason == "unlisted-parameters"


def test_the_default_is_listed():
    assert DEFAULT_PARAMETERS in ALLOWED


def test_a_listed_set_that_is_weak_is_refused_all_the_same(monkeypatch):
    weak = ParameterSet("weak", 2048, ALLOWED["n4096-q60"].modulus)
    monkeypatch.setattr("secagg.homomorphic.parameters.ALLOWED", {"weak": weak})
    assert error_of(parameter_set, "weak").reason == "weak-parameters"


@pytest.mark.parametrize("encryption", Encryption)
@pytest.mark.parametrize("degree", [1024, 2048])
def test_a_context_is_refused_for_what_seal_made_of_it_whatever_the_set_is_called(degree, encryption):
    weak = ParameterSet("n4096-q60", degree, largest_prime(degree))
    assert error_of(make_context, weak, encryption, 20).reason == "weak-parameters"


@pytest.mark.parametrize("encryption", Encryption)
def test_a_context_is_refused_if_seal_makes_another_modulus_than_the_set_names(encryption):
    other = ParameterSet("n4096-q60", 4096, ALLOWED["n4096-q60"].modulus - 8192)
    assert error_of(make_context, other, encryption, 20).reason == "other-modulus"


# --- The modulus ---------------------------------------------------------------------------------------------


def largest_prime(degree: int) -> int:
    """The largest prime below 2^60 that is 1 modulo 2N, tried one after the other."""
    return next(number for number in count((1 << 60) - 2 * degree + 1, -2 * degree) if is_prime(number))


@allowed
def test_the_modulus_is_the_largest_prime_below_two_to_the_sixty_that_is_one_modulo_twice_the_degree(parameters):
    assert parameters.modulus == largest_prime(parameters.degree)
    assert parameters.modulus % (2 * parameters.degree) == 1
    assert (1 << 59) < parameters.modulus < (1 << 60)


@allowed
def test_the_modulus_is_the_one_that_seal_makes(parameters):
    made = sealapi.CoeffModulus.Create(parameters.degree, [60])
    assert [prime.value() for prime in made] == [parameters.modulus]


def test_control_a_composite_number_is_none():
    assert not is_prime(3_215_031_751)  # A pseudoprime to the bases 2, 3, 5 and 7.
    assert not is_prime((1 << 60) - 8192 + 1)
    assert [number for number in range(43, 100) if is_prime(number)] == [43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97]


# --- Noise ---------------------------------------------------------------------------------------------------


def ways_beyond(coins: int, distance: int) -> int:
    """In how many of 2^coins ways more than ``distance`` more than half of the coins show heads."""
    heads = coins // 2 + distance + 1
    if heads > coins:
        return 0
    ways = total = comb(coins, heads)
    for shown in range(heads, coins):
        ways = ways * (coins - shown) // (shown + 1)
        total += ways
    return total


def rounding(hospitals: int) -> int:
    return (hospitals + 1) // 2


@pytest.mark.parametrize("coefficients", [1, 4096, 2 * 1_000_000 + 4096, 1 << 33])
@pytest.mark.parametrize("hospitals", [1, 2, 3, 5, 8, 20, 40, 100, 300, 1000])
def test_the_noise_of_a_vector_exceeds_its_bound_with_less_than_two_to_the_minus_forty(hospitals, coefficients):
    """Noise is a centred binomial number of 42 coins for each ciphertext: of n, one of 42 n. Counted, not estimated."""
    coins, allowed_for_noise = COINS * hospitals, encryption_noise_bound(hospitals, coefficients)
    both_sides = 2 * ways_beyond(coins, allowed_for_noise)
    assert both_sides * coefficients << FAILURE_BITS <= 1 << coins


@pytest.mark.parametrize("hospitals", [40, 1000])
def test_control_half_the_bound_would_be_exceeded(hospitals):
    coins, half = COINS * hospitals, encryption_noise_bound(hospitals, 4096) // 2
    assert 2 * ways_beyond(coins, half) * 4096 << FAILURE_BITS > 1 << coins


@given(hospitals=contributors, coefficients=lengths)
def test_the_bound_is_never_above_what_the_noise_can_be(hospitals, coefficients):
    assert 21 <= encryption_noise_bound(hospitals, coefficients) <= 21 * hospitals


@given(hospitals=contributors, coefficients=lengths)
def test_under_bfv_what_scaling_rounds_is_added(hospitals, coefficients):
    due = encryption_noise_bound(hospitals, coefficients) + rounding(hospitals)
    assert noise_bound(hospitals, coefficients) == due


def test_the_bound_of_one_hospital_is_what_its_noise_can_be():
    assert encryption_noise_bound(1, 4096) == 21
    assert noise_bound(1, 4096) == 21 + 1


@given(hospitals=st.integers(1, 999), coefficients=lengths)
def test_the_bound_grows_with_hospitals_and_with_coefficients(hospitals, coefficients):
    assert noise_bound(hospitals, coefficients) <= noise_bound(hospitals + 1, coefficients)
    assert noise_bound(hospitals, coefficients) <= noise_bound(hospitals, 2 * coefficients)


# --- Plain moduli --------------------------------------------------------------------------------------------


@allowed
@given(hospitals=contributors, coefficients=lengths)
def test_under_the_widest_plain_modulus_the_bound_leaves_decryption_right_and_one_bit_more_would_not(
    parameters, hospitals, coefficients
):
    bits, bound = exact_plain_bits(parameters, hospitals, coefficients), noise_bound(hospitals, coefficients)
    room = parameters.modulus * 999 // 1000
    assert 2 * bound << bits <= room
    assert bits == 50 or 2 * bound << (bits + 1) > room


@allowed
def test_plain_moduli_shrink_as_hospitals_and_coefficients_grow(parameters):
    for coefficients in (1, 4096, 1 << 33):
        widths = [exact_plain_bits(parameters, hospitals, coefficients) for hospitals in range(1, 1001)]
        assert all(later <= earlier for earlier, later in pairwise(widths))
    for hospitals in (3, 100, 1000):
        widths = [exact_plain_bits(parameters, hospitals, 1 << power) for power in range(35)]
        assert all(later <= earlier for earlier, later in pairwise(widths))


@allowed
@pytest.mark.parametrize(("hospitals", "bits"), [(3, 50), (100, 50), (300, 49), (1000, 48)])
def test_three_fields_of_16_bits_fit_into_a_coefficient_for_as_many_hospitals_as_a_charter_may_have(
    parameters, hospitals, bits
):
    assert exact_plain_bits(parameters, hospitals, 2 * (1 << 32) + parameters.degree) == bits
    assert bits // 16 == 3
    assert bits // 24 == 2


# --- Scales --------------------------------------------------------------------------------------------------


@allowed
@given(hospitals=contributors, coefficients=lengths)
def test_under_ckks_the_bound_is_below_half_the_scale_and_under_a_scale_of_half_as_much_it_is_not(
    parameters, hospitals, coefficients
):
    bits, bound = (
        approximate_plain_bits(parameters, hospitals, coefficients),
        encryption_noise_bound(hospitals, coefficients),
    )
    scale = 1 << CipherSpec(parameters, Encryption.CKKS, bits).scale_bits
    assert 2 * bound < scale
    assert 2 * bound >= scale // 2


@allowed
@pytest.mark.parametrize(("hospitals", "bits"), [(3, 52), (10, 51), (100, 49), (300, 48), (1000, 48)])
def test_two_fields_of_24_bits_fit_into_a_coefficient_of_ckks_too(parameters, hospitals, bits):
    assert approximate_plain_bits(parameters, hospitals, 2 * 100_000_000 + parameters.degree) == bits
    assert bits // 16 == 3
    assert bits // 24 == 2


@allowed
def test_a_thousand_hospitals_with_more_than_any_message_holds_have_a_bit_less(parameters):
    assert approximate_plain_bits(parameters, 1000, 2 * (1 << 32) + parameters.degree) == 47
