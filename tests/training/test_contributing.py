"""What a hospital puts into its vector: noise that nobody else can draw, and counts only where they are paid for."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dp.randomness import secure_generator
from secagg.charter import Member
from tests.support.hospitals import BOUNDED, choices_of, tabular_spec, training_of
from training.contributing import Contributor
from training.draft import draft_charter
from training.evaluation import count_cells
from training.hospital_state import HospitalState
from training.model_state import ModelLayout, flatten
from training.records import Records
from training.scaling import Scaling
from training.step_vector import StepVector
from training.task import build_task

TASK = build_task(tabular_spec(**BOUNDED))
MODES = {
    "distributed": {"privacy": "distributed", "expected_batch": 24, "noise_levels": (5,)},
    "local": {"privacy": "local"},
}


def records(patients: int, seed: int) -> Records:
    generator = np.random.default_rng(seed)
    labels = np.arange(patients) % 2
    features = generator.normal(labels[:, None], 1.0, (patients, 2)).astype(np.float32)
    return Records(features, labels.astype(np.int64), np.arange(patients), ("age", "dose"), "made")


def contributor(mode: str = "distributed", **more: object) -> Contributor:
    members = [Member(name=f"h{number}", public_key=bytes([number] * 32)) for number in range(1, 7)]
    choices = choices_of(
        training_of(rounds=3), epsilon=4.0, sampling_rate=0.5, metrics="noisy", metrics_every=2, **MODES[mode]
    )
    return Contributor(
        draft_charter(choices, members, TASK.spec),
        TASK,
        records(20, 1),
        records(10, 2),
        Scaling(TASK.spec),
        ModelLayout.of(TASK.build_model()),
        torch.device("cpu"),
        **more,
    )


START = HospitalState.start(bytes(32), flatten(TASK.build_model()))
KEYS = [bytes(range(32))]


@pytest.fixture
def encoded(monkeypatch):
    """The counts and the noise that stays of every vector, as they are encoded."""
    found = []
    encode = StepVector.encode

    def spy(codec, gradients, cells, noise):
        found.append((cells, noise))
        return encode(codec, gradients, cells, noise)

    monkeypatch.setattr(StepVector, "encode", spy)
    return found


def test_no_two_vectors_carry_the_same_noise(encoded):
    hospital = contributor()
    for _ in range(2):
        hospital.update(START, 1, KEYS)
    (_, first), (_, second) = encoded
    assert (first != second).any()
    keyed = hospital._noise.drawn(0, secure_generator(bytes(16)))
    assert (first != keyed).any()


def test_validation_patients_are_counted_only_for_sums_that_carry_counts(encoded):
    hospital = contributor()
    for step in (1, 2, 3):
        hospital.update(START, step, KEYS)
    assert [int(cells.sum()) for cells, _ in encoded] == [0, 10, 10]


def test_what_can_be_removed_is_in_the_vector_and_is_what_its_key_draws_of_that_component(encoded):
    hospital = contributor()
    vector = hospital.update(START, 1, KEYS)
    (removable,) = vector.removable
    assert (removable == hospital._noise(KEYS[0], 1)).all()
    assert (removable != hospital._noise(KEYS[0], 0)).any()
    (_, staying), one = encoded[0], hospital._noise.shares.dimension
    # The element that counts the hospital has no noise; what follows are counts, of nobody.
    assert vector.elements[one] == 1
    ring = StepVector(hospital.charter, hospital._noise.shares)._ring
    without = vector.elements - removable
    ring.reduce(without)
    assert (ring.to_signed(without)[one + 1 :] == staying[one + 1 :]).all()


def test_under_differential_privacy_batches_and_noise_are_not_drawn_by_what_shuffles_without_it():
    first, second = (contributor("local", shuffle=np.random.default_rng(1)).update(START, 1, ()) for _ in range(2))
    assert (first.elements != second.elements).any()


@pytest.mark.parametrize(("mode", "keys"), [("distributed", KEYS), ("local", ())])
def test_what_a_model_draws_while_patients_are_counted_is_drawn_anew_though_torch_was_seeded(monkeypatch, mode, keys):
    """As `functional.dropout(x)` does: one patient more would give all later ones other scores."""
    drawn = []

    def drawing(*given):
        drawn.append(torch.rand(4))
        return count_cells(*given)

    monkeypatch.setattr("training.step_work.count_cells", drawing)
    monkeypatch.setattr("training.local_work.count_cells", drawing)
    for _ in range(2):
        torch.manual_seed(0)
        before = torch.get_rng_state()
        contributor(mode).update(START, 2, keys)
        assert torch.equal(torch.get_rng_state(), before)
    first, second = drawn
    assert not torch.equal(first, second)
