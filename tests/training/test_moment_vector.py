"""The sum of what hospitals encode of their columns says what all their records in one place would."""

from __future__ import annotations

from contextlib import suppress
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from secagg.charter import Statistics
from secagg.encoding import Ring
from secagg.encoding.moments import SQUARE, VALUE
from secagg.errors import InputError, RemoteProtocolError
from tests.support.consortium import make_charter, make_identities
from training.moment_vector import MomentVector
from training.records import Records
from training.standardisation import standardiser_of

HOSPITALS = 5
RING = Ring(64)


def moment_vector(*features):
    charter = make_charter(make_identities(HOSPITALS), statistics=Statistics(features=len(features)))
    return MomentVector(charter, features)


def records(features):
    table = np.asarray(features, np.float32)
    numbers = np.arange(len(table), dtype=np.int64)
    return Records(table, numbers * 0, numbers, tuple(f"x{i}" for i in range(table.shape[1])), "a.csv")


def pooled_by_sum(tables, codec=None):
    codec = codec or moment_vector(*(f"x{i}" for i in range(tables[0].shape[1])))
    return codec.decode(added_up(codec.encode(records(table)) for table in tables))


def added_up(vectors):
    return np.sum(list(vectors), axis=0, dtype=np.uint64)


DRAWN = {
    "age": lambda draw, rows: draw.normal(55, 9, rows),
    "year": lambda draw, rows: draw.normal(2015, 3, rows).round(),
    "platelets": lambda draw, rows: draw.normal(2.5e5, 1e5, rows),
    "erythrocytes a litre": lambda draw, rows: draw.normal(5e12, 4e11, rows),
    "a concentration": lambda draw, rows: draw.normal(1e-6, 2e-7, rows),
    "one-hot": lambda draw, rows: draw.integers(0, 2, rows),
    "one patient in a thousand": lambda draw, rows: (draw.random(rows) < 1e-3).astype(float),
    "heavy tail": lambda draw, rows: draw.lognormal(0, 4, rows),
    "days since 1970": lambda draw, rows: draw.normal(16_436, 2, rows).round(),
    "negative": lambda draw, rows: draw.normal(-40, 0.01, rows),
    "small, of two values": lambda draw, rows: draw.choice([2e-9, 2.002e-9], rows),
}


@pytest.mark.parametrize("sizes", [(300, 260, 46, 130, 9999), (1, 1, 1, 1, 2)], ids=str)
@pytest.mark.parametrize("column", DRAWN)
def test_the_sum_gives_mean_and_spread_of_all_records_in_one_place(column, sizes):
    draw = np.random.default_rng(5)
    tables = [DRAWN[column](draw, rows)[:, None].astype(np.float32) for rows in sizes]
    pooled = np.concatenate(tables).astype(np.longdouble)
    found = pooled_by_sum(tables)
    np.testing.assert_allclose(found.mean, pooled.mean(axis=0).astype(float), rtol=1e-9)
    spread = pooled.std(axis=0).astype(float)
    if spread[0] > 0:
        np.testing.assert_allclose(standardiser_of(found).std, spread, rtol=1e-9)


@pytest.mark.parametrize("value", [0.0, 1.0, -3.7, 0.1, 1e-4, 2.5e-8, 7e-10, 2015.0, 1e8, 5e12])
def test_a_column_that_is_the_same_everywhere_is_known_to_be(value):
    found = pooled_by_sum([np.full((rows, 1), value) for rows in (3, 7, 300, 41, 10)])
    assert standardiser_of(found).std.tolist() == [np.inf]
    np.testing.assert_allclose(found.mean, [np.float32(value)], rtol=1e-12)


def test_of_sums_over_two_sets_of_hospitals_the_difference_is_the_number_of_one_hospitals_patients_with_a_diagnosis():
    """Why there is one sum, over one set: `multi-round-intersection` tries for another."""
    codec, draw = moment_vector("x0"), np.random.default_rng(7)
    sites = [records(draw.integers(0, 2, (rows, 1))) for rows in (163, 90, 41)]
    vectors = [codec.encode(site) for site in sites]
    shown = added_up(vectors) - added_up(vectors[1:])
    assert round(codec.decode(shown).mean[0] * int(shown[0])) == int(sites[0].features.sum())


@given(
    arrays(np.float32, (12, 2), elements=st.floats(-1e9, 1e9, width=32).map(lambda x: x if abs(x) > 3e-10 else 0.0)),
    st.lists(st.integers(0, HOSPITALS - 1), min_size=12, max_size=12),
)
@settings(deadline=None)
def test_one_sum_shows_nothing_of_which_hospital_has_which_row(table, owners):
    """Bit by bit: whoever sees it sees what one hospital with all rows would have sent."""
    codec = moment_vector("x", "y")
    vectors = [codec.encode(records(table[np.array(owners) == number])) for number in set(owners)]
    assert np.array_equal(added_up(vectors), codec.encode(records(table)))


def test_control_where_hospitals_send_means_of_their_own_the_last_digits_tell_how_many_have_a_diagnosis_in_each():
    """A mean is rounded to float64. Of all counts with the total that is shown anyway, one has these exact sums."""
    sizes, counts = (303, 200, 407), (145, 98, 211)

    def shown(counts):
        means = [count / size for size, count in zip(sizes, counts, strict=True)]
        squares = [Fraction(mean * (1 - mean)) + Fraction(mean) ** 2 for mean in means]
        weighted = [size * Fraction(mean) for size, mean in zip(sizes, means, strict=True)]
        return sum(weighted), sum(size * square for size, square in zip(sizes, squares, strict=True))

    possible = [(a, b, sum(counts) - a - b) for a in range(304) for b in range(201) if 0 <= sum(counts) - a - b <= 407]
    true = shown(counts)
    assert [some for some in possible if shown(some) == true] == [counts]


@pytest.mark.parametrize(
    ("dose", "reason"),
    [(3e14, "out-of-range"), (-(2.0**48), "out-of-range"), (1e-10, "too-small"), (-1e-30, "too-small")],
)
def test_a_column_that_the_sum_has_no_room_for_or_no_steps_is_named_with_what_to_do(dose, reason):
    with pytest.raises(InputError) as caught:
        moment_vector("age", "dose").encode(records([[60.0, 0.0], [50.0, dose]]))
    assert (caught.value.reason, caught.value.culprit) == (reason, "dose")
    assert "unit" in caught.value.remedy


def test_more_rows_than_can_be_added_up_are_refused(monkeypatch):
    monkeypatch.setattr("training.moment_vector.MOST_NUMBERS", 3 * HOSPITALS)
    codec = moment_vector("age")
    codec.encode(records([[60.0]] * 3))
    with pytest.raises(InputError) as caught:
        codec.encode(records([[60.0]] * 4))
    assert caught.value.reason == "too-many-rows"


def test_a_column_of_zeros_is_not_too_small():
    codec = moment_vector("age")
    assert codec.decode(codec.encode(records([[0.0]] * 10))).variance.tolist() == [0.0]


@pytest.mark.parametrize("rows", [0, -1, -(1 << 62), (1 << 31) + 1, 1 << 62])
def test_a_sum_without_rows_or_of_more_than_there_may_be_is_refused(rows):
    codec = moment_vector("x")
    with pytest.raises(RemoteProtocolError) as caught:
        codec.decode(RING.from_signed(np.array([rows, *range(11)], np.int64)))
    assert caught.value.reason == "no-weight"


@pytest.mark.parametrize(
    ("mean", "square", "possible"),
    [(1.0, 1.0, True), (1.0, 1.0 - 2.0**-50, False), (2.0**48, 2.0**96, False), (0.0, -1.0, False), (3.0, 10.0, True)],
)
def test_a_sum_that_no_rows_have_is_told_from_one_of_rounded_rows(mean, square, possible):
    codec = moment_vector("x")
    digits = [*in_digits(mean, VALUE), *in_digits(square, SQUARE)]
    total = RING.from_signed(np.array([1, *digits], np.int64))
    if possible:
        assert codec.decode(total).variance.tolist() == [square - mean**2]
        return
    with pytest.raises(RemoteProtocolError) as caught:
        codec.decode(total)
    assert caught.value.reason == "no-moments"


def in_digits(number, digits):
    """Also of a number that is one digit's place too large."""
    steps, sign = round(abs(Fraction(number)) * (1 << digits.finest)), -1 if number < 0 else 1
    lower = [sign * (steps >> 32 * place & 0xFFFFFFFF) for place in range(digits.count - 1)]
    return [*lower, sign * (steps >> 32 * (digits.count - 1))]


@given(st.integers(1, 1 << 31), arrays(np.uint64, 22, elements=st.integers(0, (1 << 64) - 1)))
@settings(deadline=None)
def test_whatever_a_hospital_that_lies_makes_of_the_sum_is_refused_or_scales_to_finite_numbers(rows, elements):
    total = np.concatenate([np.array([rows], np.uint64), elements])
    with suppress(RemoteProtocolError):
        scale = standardiser_of(moment_vector("x", "y").decode(total))
        assert np.isfinite(scale.mean).all()
        assert (scale.std > 0).all()
        assert (scale.constant | np.isfinite(scale.std)).all()
