"""However large a sample is, the gradients of single rows that are held at a time fit a bound (virtual batches)."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import dp.patients
import dp.per_sample
import dp.row_gradients
from dp.gradients import ClippedGradients
from dp.patients import PatientRecords, rows_at_once
from dp.per_sample import per_sample
from dp.plan import PrivacyPlan
from dp.randomness import secure_generator
from dp.shares import Cohort, NoiseShares
from dp.training import SgdSettings, train_privately

CPU = torch.device("cpu")
ROWS, INPUTS, WIDTH = 60, 32, 64
BOUND = 1 << 15
PLAN = PrivacyPlan(
    mode="local", noise_multiplier=1.0, clip_norm=1.0, sampling_rate=1.0, delta=1e-5, rounds=1, steps_per_round=2
)


def model() -> nn.Module:
    """2,245 parameters: there is room for the gradients of 14 rows in `BOUND`."""
    return nn.Sequential(nn.Linear(INPUTS, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 2), nn.Linear(2, 1))


def trained_size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


def records(rows_each: int = 1) -> PatientRecords:
    features = torch.from_numpy(np.random.default_rng(1).normal(size=(ROWS, INPUTS)).astype(np.float32))
    return PatientRecords(features, torch.arange(ROWS) % 2, np.arange(ROWS) // rows_each)


def loss(outputs, labels):
    return nn.functional.binary_cross_entropy_with_logits(outputs[:, 0], labels.float())


def locally(module: nn.Module, data: PatientRecords) -> None:
    train_privately(module, data, loss, PLAN, SgdSettings(learning_rate=0.1), secure_generator(bytes(16)), CPU)


def distributed(module: nn.Module, data: PatientRecords) -> None:
    shares = NoiseShares(
        cohort=Cohort(hospitals=4, threshold=3, colluding=0),
        noise="skellam",
        field_bits=32,
        noise_multiplier=1.0,
        clip_norm=1.0,
        most_patients=ROWS,
        dimension=trained_size(module),
    )
    with per_sample(module) as hooked:
        gradients = ClippedGradients(hooked, loss, shares, CPU)
        for _ in range(PLAN.steps_per_round):
            gradients.sum(data, np.arange(data.count), secure_generator(bytes(16)))


class Watch:
    def __init__(self):
        self.numbers = []

    def __call__(self, module):
        self._module = module
        return module

    def backward(self, value):
        dp.per_sample.backward(value)
        held = [getattr(parameter, "grad_sample", None) for parameter in self._module.parameters()]
        self.numbers.append(sum(gradients.numel() for gradients in held if gradients is not None))


@pytest.fixture
def held(monkeypatch):
    """Called with a model, watches it: ``numbers`` are those of single rows' gradients after each backward pass."""
    watch = Watch()
    monkeypatch.setattr(dp.row_gradients, "backward", watch.backward)
    return watch


@pytest.fixture(autouse=True)
def small_bound(monkeypatch):
    monkeypatch.setattr(dp.patients, "_MOST_NUMBERS", BOUND)


@pytest.mark.parametrize("rows_each", [1, 5])
@pytest.mark.parametrize("train", [locally, distributed])
def test_a_large_model_is_worked_through_a_few_rows_at_a_time(held, train, rows_each):
    module = held(model())
    train(module, records(rows_each))
    rows = rows_at_once(trained_size(module))
    assert rows == 14
    assert max(held.numbers) == (rows - rows % rows_each) * trained_size(module) <= BOUND
    # Every row once in each step.
    assert sum(held.numbers) == PLAN.steps_per_round * ROWS * trained_size(module)
    assert len(held.numbers) == PLAN.steps_per_round * -(-ROWS // (rows - rows % rows_each))


@pytest.mark.parametrize("train", [locally, distributed])
def test_control_with_room_for_all_rows_they_are_held_at_once(held, train, monkeypatch):
    monkeypatch.setattr(dp.patients, "_MOST_NUMBERS", 1 << 30)
    module = held(model())
    train(module, records())
    assert held.numbers == [ROWS * trained_size(module)] * PLAN.steps_per_round
    assert held.numbers[0] > BOUND


@pytest.mark.parametrize("train", [locally, distributed])
def test_frozen_layers_take_no_room_so_that_more_rows_have_it(held, train):
    module = held(model())
    module[0].requires_grad_(requires_grad=False)
    train(module, records())
    assert held.numbers == [ROWS * trained_size(module)] * PLAN.steps_per_round
    assert held.numbers[0] <= BOUND


@pytest.mark.parametrize("train", [locally, distributed])
def test_a_patient_with_more_rows_than_there_is_room_for_needs_none_of_their_gradients(held, train):
    module = held(model())
    train(module, records(rows_each=30))
    # Two patients a step, in three pieces each, and no row with a gradient of its own.
    assert held.numbers == [0] * 6 * PLAN.steps_per_round


@pytest.mark.parametrize(("parameters", "rows"), [(1, 256), (128, 256), (BOUND // 8, 8), (BOUND, 1), (BOUND * 9, 1)])
def test_as_many_rows_as_there_is_room_for_and_never_none(parameters, rows):
    assert rows_at_once(parameters) == rows


def test_by_default_there_is_room_for_a_gigabyte(monkeypatch):
    monkeypatch.undo()
    assert rows_at_once(10_000_000) * 10_000_000 * 4 <= 2**30
    assert rows_at_once(10_000_000) == 26
