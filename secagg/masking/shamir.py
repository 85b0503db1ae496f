"""Shamir's secret sharing (Shamir 1979) of 32-byte secrets over a 256-bit prime field.

Knows polynomials modulo a prime. Randomness is an argument. Python's integers are fast enough here: sharing one secret
34-of-50 takes a few hundred microseconds (`benchmarks/bench_shamir.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Final

from secagg.errors import LocalProtocolError

# The largest prime below 2^256, so that a field element is a secret and a share is as short as a secret.
PRIME: Final = (1 << 256) - 189
SHARE_SIZE: Final = 32
# Reducing 384 random bits leaves a bias below 2^-127.
_WIDE: Final = 48

Randomness = Callable[[int], bytes]


def random_secret(randomness: Randomness) -> bytes:
    """A uniform field element as 32 bytes, big-endian."""
    return _element(randomness).to_bytes(SHARE_SIZE, "big")


def share(secret: bytes, threshold: int, points: Sequence[int], randomness: Randomness) -> list[bytes]:
    """Shares of ``secret``: a random polynomial of degree ``threshold - 1`` through (0, secret), evaluated at each of
    ``points``; 32 bytes a share.

    Any ``threshold`` shares give the secret; fewer are independent of it.

    Raises:
        LocalProtocolError: ``not-shareable`` if the secret is no field element, a point is below 1 or twice there, or
            there are fewer points than the threshold.
    """
    constant = int.from_bytes(secret, "big")
    if constant >= PRIME or min(points) < 1 or len(set(points)) != len(points) or not 1 <= threshold <= len(points):
        raise LocalProtocolError("not-shareable", "The secret, the points or the threshold are outside their range.")
    coefficients = [_element(randomness) for _ in range(threshold - 1)] + [constant]
    return [evaluate(coefficients, point).to_bytes(SHARE_SIZE, "big") for point in points]


def reconstruct(shares: Mapping[int, bytes]) -> bytes:
    """The secret, from exactly as many shares as the threshold was, keyed by point: Lagrange interpolation at 0.

    Wrong shares give a wrong secret, never an error: who rebuilds checks the result against a commitment.
    """
    points = tuple(sorted(shares))
    weights = cached_lagrange_weights(points)
    total = sum(weight * int.from_bytes(shares[point], "big") for weight, point in zip(weights, points, strict=True))
    return (total % PRIME).to_bytes(SHARE_SIZE, "big")


def _element(randomness: Randomness) -> int:
    return int.from_bytes(randomness(_WIDE), "big") % PRIME


def evaluate(coefficients: Sequence[int], point: int) -> int:
    """The polynomial with these coefficients, that of the highest power first, at ``point``, modulo the prime."""
    # Points are small: leaving the reduction to the end keeps numbers within a few hundred bits of the field's.
    value = 0
    for coefficient in coefficients:
        value = value * point + coefficient
    return value % PRIME


@lru_cache(maxsize=64)
def cached_lagrange_weights(points: tuple[int, ...]) -> tuple[int, ...]:
    """`lagrange_weights`, kept: in a complete graph the same holders rebuild everybody's secrets."""
    return lagrange_weights(points)


def lagrange_weights(points: tuple[int, ...]) -> tuple[int, ...]:
    """The weight of each point's share in the secret (Lagrange)."""
    weights = []
    for point in points:
        numerator, denominator = 1, 1
        for other in points:
            if other != point:
                numerator *= other
                denominator *= other - point
        weights.append(numerator * pow(denominator, -1, PRIME) % PRIME)
    return tuple(weights)
