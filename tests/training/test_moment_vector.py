"""The sum of what hospitals encode of their columns says what all their records in one place would."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from secagg.charter import Encoding, Statistics
from secagg.encoding import Ring
from secagg.errors import InputError, RemoteProtocolError
from tests.support.consortium import make_charter, make_identities
from training.moment_vector import MomentVector
from training.records import Records
from training.standardisation import Moments, moments_of, standardiser_of

HOSPITALS = 5
RING = Ring(64)
MOST = 10_000


def moment_vector(*features):
    charter = make_charter(
        make_identities(HOSPITALS), statistics=Statistics(features=len(features)), encoding=Encoding(max_weight=MOST)
    )
    return MomentVector(charter, features)


def records(features):
    table = np.asarray(features, np.float32)
    numbers = np.arange(len(table), dtype=np.int64)
    return Records(table, numbers * 0, numbers, tuple(f"x{i}" for i in range(table.shape[1])), "a.csv")


def pooled_by_sum(tables, codec=None):
    codec = codec or moment_vector(*(f"x{i}" for i in range(tables[0].shape[1])))
    sites = [records(table) for table in tables]
    vectors = [codec.encode(moments_of(site), len(site)) for site in sites]
    return codec.decode(np.sum(vectors, axis=0, dtype=np.uint64))


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


@pytest.mark.parametrize("value", [0.0, 1.0, -3.7, 0.1, 1e-4, 2015.0, 1e8, 5e12])
def test_a_column_that_is_the_same_everywhere_is_left_unscaled(value):
    found = pooled_by_sum([np.full((rows, 1), value) for rows in (3, 7, 300, 41, 10)])
    assert standardiser_of(found).std.tolist() == [1.0]
    np.testing.assert_allclose(found.mean, [np.float32(value)], rtol=1e-12)


def test_of_sums_over_two_sets_of_hospitals_the_difference_is_the_number_of_one_hospitals_patients_with_a_diagnosis():
    """Why there is one sum, over one set: `multi-round-intersection` tries for another."""
    codec, draw = moment_vector("x0"), np.random.default_rng(7)
    sites = [records(draw.integers(0, 2, (rows, 1))) for rows in (163, 90, 41)]
    vectors = [codec.encode(moments_of(site), len(site)) for site in sites]
    all_of_them, without_the_first = (np.sum(some, axis=0, dtype=np.uint64) for some in (vectors, vectors[1:]))
    shown = all_of_them - without_the_first
    assert round(codec.decode(shown).mean[0] * int(shown[0])) == int(sites[0].features.sum())


def test_a_hospital_with_more_patients_than_the_greatest_weight_counts_as_that_many():
    codec = moment_vector("x")
    large, small = Moments(np.array([1.0]), np.array([0.0])), Moments(np.array([4.0]), np.array([0.0]))
    found = codec.decode(codec.encode(large, 50 * MOST) + codec.encode(small, MOST // 2))
    assert found.mean.tolist() == [2.0]
    assert found.variance.tolist() == [2.0]


@given(arrays(np.float64, (HOSPITALS, 2), elements=st.floats(-1e6, 1e6)), st.lists(st.integers(1, MOST), min_size=5))
@settings(deadline=None)
def test_means_and_variances_are_pooled_to_the_last_digit_that_float64_has(means, counts):
    codec = moment_vector("x", "y")
    vectors = [
        codec.encode(Moments(row, np.ones(2)), count) for row, count in zip(means, counts[:HOSPITALS], strict=True)
    ]
    found = codec.decode(np.sum(vectors, axis=0, dtype=np.uint64))
    weights = np.array(counts[:HOSPITALS], np.longdouble)[:, None] / sum(counts[:HOSPITALS])
    wide = means.astype(np.longdouble)
    mean = (weights * wide).sum(axis=0)
    np.testing.assert_allclose(found.mean, mean.astype(float), rtol=1e-13, atol=1e-12)
    np.testing.assert_allclose(
        found.variance, ((weights * (wide - mean) ** 2).sum(axis=0) + 1).astype(float), rtol=1e-12
    )


def test_everybody_gets_the_same_bits_whatever_order_vectors_are_added_in():
    codec, draw = moment_vector("x"), np.random.default_rng(3)
    vectors = [codec.encode(Moments(draw.normal(size=1), draw.random(1)), 10 + n) for n in range(HOSPITALS)]
    found = {
        codec.decode(np.sum([vectors[i] for i in draw.permutation(HOSPITALS)], axis=0, dtype=np.uint64)).mean.tobytes()
        for _ in range(20)
    }
    assert len(found) == 1


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
@pytest.mark.parametrize("which", ["mean", "variance"])
def test_a_column_that_is_no_number_is_named(which, wrong):
    moments = Moments(np.ones(2), np.ones(2))
    getattr(moments, which)[1] = wrong
    with pytest.raises(InputError) as caught:
        moment_vector("age", "dose").encode(moments, 10)
    assert (caught.value.reason, caught.value.culprit) == ("not-finite", "dose")


@pytest.mark.parametrize(
    ("mean", "variance", "reason"),
    [(1e18, 0.0, "out-of-range"), (0.0, 1e32, "out-of-range"), (-1e16, 1.0, "out-of-range"), (1e-14, 0.0, "too-small")],
)
def test_a_column_that_the_sum_has_no_room_for_or_no_steps_is_named_with_what_to_do(mean, variance, reason):
    with pytest.raises(InputError) as caught:
        moment_vector("age", "dose").encode(Moments(np.array([60.0, mean]), np.array([9.0, variance])), MOST)
    assert (caught.value.reason, caught.value.culprit) == (reason, "dose")
    assert "unit" in caught.value.remedy


def test_a_column_of_zeros_is_not_too_small():
    codec = moment_vector("age")
    assert codec.decode(codec.encode(Moments(np.zeros(1), np.zeros(1)), 10)).variance.tolist() == [0.0]


@pytest.mark.parametrize("weight", [0, -1, -(1 << 62)])
def test_a_sum_without_weight_is_refused(weight):
    codec = moment_vector("x")
    with pytest.raises(RemoteProtocolError) as caught:
        codec.decode(RING.from_signed(np.array([weight, *range(8)], np.int64)))
    assert caught.value.reason == "no-weight"


@given(arrays(np.uint64, 17, elements=st.integers(0, (1 << 64) - 1)))
@settings(deadline=None)
def test_whatever_a_hospital_that_lies_makes_of_the_sum_it_scales_to_finite_numbers(elements):
    elements[0] = max(1, int(elements[0]) >> 1)
    scale = standardiser_of(moment_vector("x", "y").decode(elements))
    assert np.isfinite(scale.mean).all()
    assert (scale.std > 0).all()
    assert np.isfinite(scale.std).all()
