"""Secrets from shares of which some are wrong: shares are a word of a Reed-Solomon code (McEliece and Sarwate 1981).

Knows shares, points and polynomials modulo the prime of `shamir`. Knows nothing of who gave them or of commitments.

Of r shares let w be the weights that interpolate at zero (Lagrange, `shamir.lagrange_weights`), and

    S_m = sum over points x of w_x x^m y_x,   m = 0, 1, ..., r - t.

Right shares are those of a polynomial f of degree below t. The polynomial x^m f(x) has a degree below r, so that S_m is
its value at zero: the secret for m = 0, and 0 for every other m. Wrong shares, each off by some e_x, therefore make

    S_m = sum over wrong points x of (w_x e_x) x^m,   m = 1, ..., r - t,

a sequence that satisfies a linear recurrence whose characteristic roots are the wrong points, and none shorter if they
are at most (r - t) / 2. A shortest recurrence of r - t numbers that is no longer than that is the only one (Massey
1969, "Shift-register synthesis and BCH decoding", IEEE Transactions on Information Theory 15(1), theorem 3): as many
wrong shares are found, whichever they are and whatever they hold. In the same way the share at a point z can be left
out: the weights of the others are w_x (1 - x / z), so that S_m - S_(m+1) / z is S_m of the shares that are left.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations, pairwise, zip_longest
from math import comb
from typing import Final

from secagg.masking.shamir import PRIME, SHARE_SIZE, cached_lagrange_weights, evaluate

# Each takes some tens of microseconds, and as much again to be held against a commitment.
MOST_SETS: Final = 10_000


def corrections(shares: Mapping[int, bytes], threshold: int) -> Iterator[tuple[frozenset[int], bytes]]:
    """What the secret may be, with the points of the shares that are left out for it.

    First what follows if no more than half as many shares are wrong as there are above the threshold. Then, where there
    are few sets of ``threshold`` shares, what each of them gives: whoever asks can tell the right one.

    Args:
        shares: 32 bytes each, keyed by point; at least ``threshold``.
    """
    sums = _power_sums(shares, len(shares) - threshold)
    wrong = _located(sums[1:], sorted(shares))
    if wrong is not None:
        yield wrong, _without(sums, wrong)
    if _few(len(shares), threshold):
        for left_out in combinations(sorted(shares), len(shares) - threshold):
            yield frozenset(left_out), _without(sums, left_out)


def correctable(count: int, threshold: int) -> int:
    """How many of ``count`` shares may be wrong, whichever and however, so that `corrections` gives the secret."""
    above = count - threshold
    return above if _few(count, threshold) else above // 2


def _few(count: int, threshold: int) -> bool:
    return comb(count, threshold) <= MOST_SETS


def _power_sums(shares: Mapping[int, bytes], highest: int) -> list[int]:
    """S_0, ..., S_highest."""
    points = sorted(shares)
    weights = cached_lagrange_weights(tuple(points))
    terms = [weight * int.from_bytes(shares[point], "big") for weight, point in zip(weights, points, strict=True)]
    sums = [sum(terms) % PRIME]
    for _ in range(highest):
        terms = [term * point % PRIME for term, point in zip(terms, points, strict=True)]
        sums.append(sum(terms) % PRIME)
    return sums


def _without(sums: Sequence[int], left_out: Iterable[int]) -> bytes:
    """The value at zero of the polynomial through all shares but these."""
    for point in left_out:
        inverse = pow(point, -1, PRIME)
        sums = [(lower - inverse * higher) % PRIME for lower, higher in pairwise(sums)]
    return sums[0].to_bytes(SHARE_SIZE, "big")


def _located(syndromes: Sequence[int], points: Sequence[int]) -> frozenset[int] | None:
    """Where the wrong shares are; None if there are more than can be found."""
    recurrence = _shortest_recurrence(syndromes)
    length = len(recurrence) - 1
    roots = frozenset(point for point in points if evaluate(recurrence, point) == 0)
    return roots if 2 * length <= len(syndromes) and len(roots) == length else None


def _shortest_recurrence(sequence: Sequence[int]) -> list[int]:
    """1, c_1, ..., c_L with s_n + c_1 s_(n-1) + ... + c_L s_(n-L) = 0 for all n from L, of the smallest L.

    They are also the coefficients of its characteristic polynomial, that of the highest power first.
    """
    current, previous = [1], [1]
    length, since, last = 0, 1, 1
    for place in range(len(sequence)):
        discrepancy = sum(factor * sequence[place - back] for back, factor in enumerate(current)) % PRIME
        if discrepancy:
            scale = discrepancy * pow(last, -1, PRIME)
            shifted = [0] * since + [scale * factor for factor in previous]
            mended = [(one - other) % PRIME for one, other in zip_longest(current, shifted, fillvalue=0)]
            if 2 * length <= place:
                length, previous, last, since = place + 1 - length, current, discrepancy, 0
            current = mended
        since += 1
    return current[: length + 1] + [0] * (length + 1 - len(current))
