"""As many wrong shares are found as half of those above the threshold, and no result is taken on trust."""

from __future__ import annotations

from itertools import combinations
from math import comb

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from secagg.masking import error_correction
from secagg.masking.error_correction import MOST_SETS, correctable, corrections
from secagg.masking.shamir import PRIME, random_secret, share

SECRET = random_secret(np.random.default_rng(7).bytes)
OTHER = random_secret(np.random.default_rng(8).bytes)

Shares = dict[int, bytes]


def dealt(threshold: int, points: list[int], seed: int = 1, secret: bytes = SECRET) -> Shares:
    return dict(zip(points, share(secret, threshold, points, np.random.default_rng(seed).bytes), strict=True))


def with_wrong(shares: Shares, liars, seed: int = 2) -> Shares:
    randomness = np.random.default_rng(seed).bytes
    return {point: randomness(32) if point in liars else right for point, right in shares.items()}


def number(data: bytes) -> int:
    return int.from_bytes(data, "big")


def plain_lagrange(shares: Shares, at: int) -> int:
    """Apart from the code: term by term, each fraction divided at once."""
    total = 0
    for point, data in shares.items():
        term = number(data)
        for other in shares:
            if other != point:
                term = term * (at - other) % PRIME * pow(point - other, PRIME - 2, PRIME) % PRIME
        total += term
    return total % PRIME


def nearest(shares: Shares, threshold: int) -> tuple[frozenset[int], int]:
    """Apart from the code, and slowly: who is off the polynomial that most shares lie on, and its value at zero."""
    found = []
    for chosen in combinations(shares, threshold):
        through = {point: shares[point] for point in chosen}
        off = frozenset(p for p in shares if plain_lagrange(through, p) != number(shares[p]) % PRIME)
        found.append((len(off), off, plain_lagrange(through, 0)))
    _, off, secret = min(found, key=lambda one: one[0])
    return off, secret


@st.composite
def sharings(draw):
    """A threshold, its shares at any points, and liars in any places, up to half of what is above the threshold."""
    threshold, above = draw(st.integers(1, 5)), draw(st.integers(0, 6))
    points = draw(st.lists(st.integers(1, 1000), min_size=threshold + above, max_size=threshold + above, unique=True))
    liars = draw(st.lists(st.sampled_from(points), max_size=above // 2, unique=True))
    return threshold, dealt(threshold, points, draw(st.integers(0, 99))), frozenset(liars)


# --- Within the radius ---------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=200)
@given(sharings(), st.sampled_from(["random", "zeros", "of another secret", "the next one's", "above the prime"]))
def test_up_to_half_of_those_above_the_threshold_are_found_whatever_they_say(sharing, lie):
    threshold, right, liars = sharing
    others = dealt(threshold, list(right), 5, OTHER)
    lies = {
        "random": with_wrong(right, liars),
        "zeros": {point: bytes(32) for point in right},
        "of another secret": others,
        "the next one's": dict(zip(right, [*list(right.values())[1:], OTHER], strict=True)),
        "above the prime": dict.fromkeys(right, b"\xff" * 32),
    }[lie]
    shown = {point: lies[point] if point in liars else right[point] for point in right}
    wrong = frozenset(point for point in right if shown[point] != right[point])
    assert next(corrections(shown, threshold)) == (wrong, SECRET)


def few_sets(sharing):
    threshold, right, _ = sharing
    return comb(len(right), threshold) <= 40


@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.filter_too_much])
@given(sharings().filter(few_sets))
def test_what_is_found_is_what_most_shares_lie_on(sharing):
    threshold, right, liars = sharing
    shown = with_wrong(right, liars)
    off, secret = nearest(shown, threshold)
    assert next(corrections(shown, threshold)) == (off, secret.to_bytes(32, "big"))


@pytest.mark.parametrize("liars", [0, 1, 20, 22])
def test_of_a_hundred_shares_with_a_threshold_of_56_as_many_as_22_may_be_wrong(liars):
    right = dealt(56, list(range(1, 101)))
    for wrong in (frozenset(range(1, 1 + liars)), frozenset(range(101 - liars, 101))):
        assert next(corrections(with_wrong(right, wrong), 56)) == (wrong, SECRET)
    assert correctable(100, 56) == 22


@pytest.mark.parametrize("liars", [1, 249])
def test_of_a_thousand_shares_a_liar_is_found_and_249_are(liars):
    right = dealt(501, list(range(1, 1001)))
    wrong = frozenset(range(1, 1 + liars))
    assert next(corrections(with_wrong(right, wrong), 501)) == (wrong, SECRET)
    assert correctable(1000, 501) == 249


# --- Beyond it -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("threshold", "count"), [(56, 100), (56, 99), (10, 30), (501, 600)])
def test_one_more_than_that_gives_nothing_where_there_are_many_sets(threshold, count):
    radius = correctable(count, threshold)
    assert radius == (count - threshold) // 2
    right = dealt(threshold, list(range(1, count + 1)))
    shown = with_wrong(right, range(1, radius + 2))
    assert SECRET not in [secret for _, secret in corrections(shown, threshold)]


@pytest.mark.parametrize(("threshold", "count"), [(3, 5), (4, 7), (4, 6), (7, 14), (56, 58)])
def test_where_there_are_few_sets_of_shares_one_of_them_is_right_as_long_as_there_are_enough_right_ones(
    threshold, count
):
    above = count - threshold
    assert correctable(count, threshold) == above
    right = dealt(threshold, list(range(1, count + 1)))
    for liars in (range(1, above + 1), range(count - above + 1, count + 1), range(2, 2 + above)):
        found = {secret: left_out for left_out, secret in corrections(with_wrong(right, liars), threshold)}
        assert found[SECRET] == frozenset(liars)
    shown = with_wrong(right, range(1, above + 2))
    assert SECRET not in [secret for _, secret in corrections(shown, threshold)]


@pytest.mark.parametrize("liar", [1, 300, 501, 502])
def test_with_one_share_above_any_threshold_a_liar_is_found_by_leaving_out_each(liar):
    right = dealt(501, list(range(1, 503)))
    assert correctable(502, 501) == 1
    assert (frozenset({liar}), SECRET) in corrections(with_wrong(right, {liar}), 501)


def test_liars_beyond_the_radius_can_have_another_secret_found_first_so_that_it_must_be_checked():
    """Three of seven, with a threshold of four, choose the polynomial through their lies and three right shares."""
    right = dealt(4, list(range(1, 8)))
    through = {0: OTHER} | {point: right[point] for point in (1, 2, 3)}
    lies = {point: plain_lagrange(through, point).to_bytes(32, "big") for point in (5, 6, 7)}
    found = list(corrections(right | lies, 4))
    assert found[0] == (frozenset({4}), OTHER)
    assert (frozenset({5, 6, 7}), SECRET) in found


def test_the_threshold_itself_gives_what_its_shares_give_and_nothing_else():
    right = dealt(3, [2, 5, 9])
    assert {secret for _, secret in corrections(right, 3)} == {SECRET}
    assert {secret for _, secret in corrections(right | {5: bytes(32)}, 3)} != {SECRET}
    assert correctable(3, 3) == 0


def test_few_sets_are_ten_thousand():
    assert (MOST_SETS, correctable(141, 139), correctable(142, 140)) == (10_000, 2, 1)


# --- What it is made of --------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=60)
@given(sharings(), st.integers(0, 99))
def test_leaving_shares_out_gives_what_the_others_interpolate_to(sharing, seed):
    threshold, right, _ = sharing
    shown = with_wrong(right, right, seed)
    sums = error_correction._power_sums(shown, len(shown) - threshold)
    for count in range(len(shown) - threshold + 1):
        left_out = sorted(shown)[:count]
        rest = {point: data for point, data in shown.items() if point not in left_out}
        assert number(error_correction._without(sums, left_out)) == plain_lagrange(rest, 0)


@settings(deadline=None)
@given(sharings())
def test_right_shares_have_no_syndromes(sharing):
    threshold, right, _ = sharing
    sums = error_correction._power_sums(right, len(right) - threshold)
    assert sums == [number(SECRET)] + [0] * (len(right) - threshold)


@settings(deadline=None)
@given(st.lists(st.integers(0, 3), max_size=12))
def test_a_recurrence_is_one_and_none_is_shorter(sequence):
    """Of few different numbers, so that recurrences are often short. None shorter: the equations have no solution."""
    found = error_correction._shortest_recurrence(sequence)
    length = len(found) - 1
    for place in range(length, len(sequence)):
        assert sum(factor * sequence[place - back] for back, factor in enumerate(found)) % PRIME == 0
    for shorter in range(length):
        rows = [sequence[place - shorter : place + 1][::-1] for place in range(shorter, len(sequence))]
        assert rank([row[1:] for row in rows]) < rank(rows)


def rank(rows: list[list[int]]) -> int:
    """Of a matrix over the field, by elimination."""
    rows, done = [list(row) for row in rows], 0
    for column in range(len(rows[0]) if rows else 0):
        pivot = next((index for index in range(done, len(rows)) if rows[index][column] % PRIME), None)
        if pivot is None:
            continue
        rows[done], rows[pivot] = rows[pivot], rows[done]
        inverse = pow(rows[done][column], PRIME - 2, PRIME)
        for index in range(done + 1, len(rows)):
            factor = rows[index][column] * inverse
            rows[index] = [(a - factor * b) % PRIME for a, b in zip(rows[index], rows[done], strict=True)]
        done += 1
    return done
