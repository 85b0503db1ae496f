"""What travels inside a masked vector, and that the sum of what hospitals encode says what it should."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from secagg.charter import Encoding, Metrics, Model, Privacy, Training
from secagg.errors import InputError, RemoteProtocolError
from tests.support.consortium import MODEL_DIGEST, make_charter, make_identities
from training.model_state import ModelLayout, TensorShape
from training.vector_layout import UpdateVector, clip_norm, most_counts

HOSPITALS = 5
SIZE = 7
LAYOUT = ModelLayout((TensorShape("bias", (1,)), TensorShape("layer.weight", (2, 3))))
NO_CELLS = np.zeros(0, np.int64)


def update_vector(weighting="records", max_weight=100, cells=0, **encoding):
    charter = make_charter(
        make_identities(HOSPITALS),
        model=Model(digest=MODEL_DIGEST, parameters=SIZE),
        training=Training(rounds=1, weighting=weighting),
        encoding=Encoding(max_weight=max_weight, **encoding),
        metrics=Metrics(release="exact", cells=cells) if cells else Metrics(),
    )
    return UpdateVector(charter, LAYOUT)


def add(codec, vectors):
    ring = codec.layout.ring
    return ring.from_signed(sum(ring.to_signed(vector) for vector in vectors))


def worst_error(codec, weights):
    """Half a grid point from each hospital, over the share of the weight that it is divided by."""
    layout = codec.layout
    return len(weights) * 0.5 / layout.scale(layout.sections[0]) / (sum(weights) / codec.charter.encoding.max_weight)


updates = arrays(np.float64, (HOSPITALS, SIZE), elements=st.floats(-3.0, 3.0, width=64))
patients = st.lists(st.integers(1, 100), min_size=HOSPITALS, max_size=HOSPITALS)


@given(updates, patients, st.sampled_from([20, 24, 32, 48]))
@settings(deadline=None)
def test_the_sum_decodes_to_the_mean_weighted_by_patients_to_within_the_grid(drawn, counts, field_bits):
    codec = update_vector(field_bits=field_bits)
    total = add(codec, [codec.encode(row, count, NO_CELLS) for row, count in zip(drawn, counts, strict=True)])
    exact = np.average(drawn, axis=0, weights=counts)
    error = np.abs(codec.decode(total).update - exact).max()
    assert error <= worst_error(codec, counts) * (1 + 1e-9) + 1e-12


@given(updates, patients)
@settings(deadline=None)
def test_uniform_weighting_ignores_how_many_patients_a_hospital_has(drawn, counts):
    codec = update_vector("uniform")
    total = add(codec, [codec.encode(row, count, NO_CELLS) for row, count in zip(drawn, counts, strict=True)])
    error = np.abs(codec.decode(total).update - drawn.mean(axis=0)).max()
    assert error <= worst_error(codec, [100] * HOSPITALS) * (1 + 1e-9)


def test_a_hospital_with_more_patients_than_the_greatest_weight_counts_as_that_many():
    codec = update_vector(max_weight=10)
    assert [codec.weight(count) for count in (3, 10, 11, 10_000)] == [3, 10, 10, 10]
    small, large = np.full(SIZE, 1.0), np.full(SIZE, -1.0)
    total = add(codec, [codec.encode(small, 10, NO_CELLS), codec.encode(large, 5000, NO_CELLS)])
    assert np.abs(codec.decode(total).update).max() <= worst_error(codec, [10, 10])


@given(arrays(np.float64, SIZE, elements=st.floats(-1e6, 1e6)), st.floats(0.01, 100.0))
def test_an_update_is_clipped_to_the_norm_and_keeps_its_direction(update, norm):
    clipped = clip_norm(update, norm)
    length = np.linalg.norm(update)
    assert np.linalg.norm(clipped) <= norm * (1 + 1e-12)
    if length <= norm:
        assert np.array_equal(clipped, update)
    else:
        np.testing.assert_allclose(clipped * length, update * norm, rtol=1e-9, atol=1e-300)


def test_a_hospital_cannot_pull_the_mean_further_than_the_charters_norm():
    codec = update_vector(update_norm=1.0)
    honest = [codec.encode(np.zeros(SIZE), 100, NO_CELLS) for _ in range(HOSPITALS - 1)]
    total = add(codec, [*honest, codec.encode(np.full(SIZE, 1e9), 100, NO_CELLS)])
    assert np.linalg.norm(codec.decode(total).update) <= (1.0 + 1e-3) / HOSPITALS


@given(st.lists(st.lists(st.integers(0, 900), min_size=4, max_size=4), min_size=HOSPITALS, max_size=HOSPITALS))
@settings(deadline=None)
def test_counts_come_out_exactly(cells):
    codec = update_vector(cells=4)
    vectors = [codec.encode(np.zeros(SIZE), 1, np.array(row)) for row in cells]
    assert codec.decode(add(codec, vectors)).cells.tolist() == np.sum(cells, axis=0).tolist()


def test_negative_noisy_counts_come_out_exactly():
    codec = update_vector(cells=2)
    vectors = [codec.encode(np.zeros(SIZE), 1, np.array([-7, 3])), codec.encode(np.zeros(SIZE), 1, np.array([2, -9]))]
    assert codec.decode(add(codec, vectors)).cells.tolist() == [-5, -6]


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(("index", "tensor"), [(0, "bias"), (1, "layer.weight"), (SIZE - 1, "layer.weight")])
def test_an_update_that_is_no_number_names_its_tensor(wrong, index, tensor):
    update = np.zeros(SIZE)
    update[index] = wrong
    with pytest.raises(InputError) as caught:
        update_vector().encode(update, 10, NO_CELLS)
    assert (caught.value.reason, caught.value.culprit) == ("not-finite", tensor)


def test_a_count_too_large_for_the_field_is_refused_and_named():
    codec = update_vector(cells=2, field_bits=16, max_weight=10)
    with pytest.raises(InputError) as caught:
        codec.encode(np.zeros(SIZE), 1, np.array([0, 7000]))
    assert (caught.value.reason, caught.value.culprit) == ("out-of-range", "metrics")


@pytest.mark.parametrize("count", [7000, -7000])
def test_a_noisy_count_is_clamped_to_the_field(count):
    private = Privacy(mode="local", noise_multiplier=1.0, metric_noise_multiplier=1.0, budget=8.0)
    charter = msgspec.structs.replace(
        update_vector("uniform", field_bits=16, max_weight=10).charter,
        metrics=Metrics(release="noisy", cells=2),
        privacy=private,
    )
    codec = UpdateVector(charter, LAYOUT)
    encoded = codec.encode(np.zeros(SIZE), 1, np.array([0, count]))
    assert abs(int(codec.layout.ring.to_signed(encoded)[-1])) == most_counts(codec.charter) == 32767 // HOSPITALS


def test_counts_are_read_from_a_sum_without_weight_too():
    codec = update_vector(cells=2)
    total = add(codec, [codec.layout.encode([[0.0], np.zeros(6), np.array([-1]), np.array([4, 5])])])
    with pytest.raises(RemoteProtocolError):
        codec.decode(total)
    assert codec.counts(total).tolist() == [4, 5]
