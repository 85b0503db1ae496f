"""A hospital's vector in a step: counts that the ring has no room for are clamped, and a sum is read as it was made."""

from __future__ import annotations

import numpy as np

from secagg.charter import Member
from tests.support.hospitals import BOUNDED, choices_of, tabular_spec, training_of
from training.draft import draft_charter
from training.noise import noise_shares
from training.step_vector import StepVector

MEMBERS = [Member(name=f"h{number}", public_key=bytes([number] * 32)) for number in range(1, 6)]
CHARTER = draft_charter(
    choices_of(training_of(), privacy="distributed", epsilon=4.0, expected_batch=24, metrics="noisy"),
    MEMBERS,
    tabular_spec(**BOUNDED),
)
SHARES = noise_shares(CHARTER)
VECTOR = StepVector(CHARTER, SHARES)
NOTHING, NO_NOISE = np.zeros(SHARES.dimension, np.int64), np.zeros(SHARES.dimension + 1 + SHARES.cells, np.int64)


def test_counts_beyond_what_the_ring_has_room_for_are_clamped_so_that_full_ones_of_all_hospitals_can_be_summed():
    most = SHARES.most_counts
    total = len(MEMBERS) * VECTOR.encode(NOTHING, np.array([10 * most, -10 * most]), NO_NOISE)
    assert VECTOR.counts(total).tolist() == [len(MEMBERS) * most, -len(MEMBERS) * most]


def test_noise_is_on_gradients_and_counts_and_a_sum_is_minus_the_mean_gradient_over_the_expected_batch():
    gradients = np.arange(SHARES.dimension) * SHARES.steps_per_clip
    noise = np.arange(len(NO_NOISE)) - 5
    decoded = VECTOR.decode(VECTOR.encode(gradients, np.full(SHARES.cells, 3), noise))
    mean = (gradients + noise[: SHARES.dimension]) / SHARES.scale / CHARTER.training.batch_size
    np.testing.assert_allclose(decoded.update, -mean)
    assert decoded.cells.tolist() == (3 + noise[SHARES.dimension + 1 :]).tolist()
