"""Any t shares give the secret, and t - 1 say nothing about it."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secagg.errors import LocalProtocolError
from secagg.masking.shamir import PRIME, SHARE_SIZE, evaluate, random_secret, reconstruct, share


def randomness(seed: int):
    return np.random.default_rng(seed).bytes


def is_probably_prime(number: int, rounds: int = 24) -> bool:
    """Miller-Rabin with the first primes as bases."""
    bases = [p for p in range(2, 100) if all(p % q for q in range(2, p))][:rounds]
    if any(number % base == 0 for base in bases):
        return number in bases
    odd, twos = number - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    for base in bases:
        power = pow(base, odd, number)
        if power in (1, number - 1):
            continue
        if not any((power := power * power % number) == number - 1 for _ in range(twos - 1)):
            return False
    return True


def test_the_prime_is_the_largest_below_2_to_the_256():
    assert is_probably_prime(PRIME)
    assert not any(is_probably_prime(number) for number in range(PRIME + 1, 1 << 256))


def test_the_primality_test_tells_primes_from_carmichael_numbers():
    assert [number for number in range(2, 60) if is_probably_prime(number)] == [
        2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59,
    ]  # fmt: skip
    assert not is_probably_prime((6 * 1000 + 1) * (12 * 1000 + 1) * (18 * 1000 + 1))


@settings(deadline=None)
@given(secret=st.integers(0, PRIME - 1), threshold=st.integers(1, 6), extra=st.integers(0, 4), seed=st.integers(0, 99))
def test_any_t_shares_give_the_secret(secret, threshold, extra, seed):
    encoded = secret.to_bytes(32, "big")
    points = [3 * point + 1 for point in range(threshold + extra)]
    shares = dict(zip(points, share(encoded, threshold, points, randomness(seed)), strict=True))
    assert all(len(one) == SHARE_SIZE for one in shares.values())
    for chosen in combinations(points, threshold):
        assert reconstruct({point: shares[point] for point in chosen}) == encoded


@given(first=st.integers(0, PRIME - 1), second=st.integers(0, PRIME - 1), seed=st.integers(0, 99))
def test_fewer_than_t_shares_fit_every_secret(first, second, seed):
    """For the t - 1 shares of one secret there is a last share that makes them those of any other."""
    points = [1, 2, 3]
    held = dict(zip(points[:2], share(first.to_bytes(32, "big"), 3, points, randomness(seed)), strict=False))
    # Lagrange: the value at 3 of the parabola through the two shares and (0, second).
    values = {0: second} | {point: int.from_bytes(data, "big") for point, data in held.items()}
    third = 0
    for point, value in values.items():
        for other in values:
            if other != point:
                value = value * (3 - other) * pow(point - other, -1, PRIME) % PRIME
        third += value
    assert reconstruct(held | {3: (third % PRIME).to_bytes(32, "big")}) == second.to_bytes(32, "big")


def test_too_few_shares_give_something_else():
    secret = random_secret(randomness(1))
    shares = share(secret, 3, [1, 2, 3, 4], randomness(2))
    assert reconstruct({1: shares[0], 2: shares[1]}) != secret


def test_a_wrong_share_gives_a_wrong_secret_and_no_error():
    secret = random_secret(randomness(1))
    shares = share(secret, 2, [1, 2], randomness(2))
    assert reconstruct({1: shares[0], 2: shares[0]}) != secret


@pytest.mark.parametrize(
    ("secret", "threshold", "points"),
    [
        (PRIME.to_bytes(32, "big"), 2, [1, 2]),
        (b"\xff" * 32, 2, [1, 2]),
        (bytes(32), 2, [0, 1]),
        (bytes(32), 2, [-1, 1]),
        (bytes(32), 2, [1, 1]),
        (bytes(32), 3, [1, 2]),
        (bytes(32), 0, [1, 2]),
    ],
)
def test_what_cannot_be_shared_safely_is_refused(secret, threshold, points):
    with pytest.raises(LocalProtocolError) as caught:
        share(secret, threshold, points, randomness(1))
    assert caught.value.reason == "not-shareable"


def test_a_share_at_zero_would_be_the_secret():
    assert evaluate([5, 7, 1234], 0) == 1234


def test_every_sharing_of_one_secret_is_different():
    secret = random_secret(randomness(1))
    assert share(secret, 2, [1, 2], randomness(2)) != share(secret, 2, [1, 2], randomness(3))


def test_the_randomness_reads_48_bytes_for_each_coefficient():
    asked = []

    def recorded(size: int) -> bytes:
        asked.append(size)
        return bytes(size)

    share(bytes(32), 4, [1, 2, 3, 4], recorded)
    assert asked == [48, 48, 48]
