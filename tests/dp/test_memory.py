"""However large a sample is, the gradients and activations that are held at a time fit a bound (virtual batches)."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import dp.patients
from dp.gradients import ClippedGradients
from dp.patients import PatientRecords, rows_at_once
from dp.per_sample import PerSampleModule, per_sample
from dp.plan import PrivacyPlan
from dp.randomness import secure_generator
from dp.row_size import row_size
from dp.shares import Cohort, NoiseShares
from dp.training import SgdSettings, train_privately
from training.tasks.models import build_image_model
from training.tasks.spec import ModelSpec

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
        gradients = ClippedGradients(hooked, loss, shares, CPU, row_size(module, data.features[:1]))
        for _ in range(PLAN.steps_per_round):
            gradients.sum(data, np.arange(data.count), secure_generator(bytes(16)))


class Watch:
    def __init__(self):
        self.numbers = []

    def __call__(self, module):
        self._module = module
        return module

    def after(self, backward):
        def watched(*arguments):
            backward(*arguments)
            self._count()

        return watched

    def _count(self):
        held = [getattr(parameter, "grad_sample", None) for parameter in self._module.parameters()]
        self.numbers.append(sum(gradients.numel() for gradients in held if gradients is not None))


@pytest.fixture
def held(monkeypatch):
    """Called with a model, watches it: ``numbers`` are those of single rows' gradients after each backward pass."""
    watch = Watch()
    for kind in (PerSampleModule, torch.Tensor):
        monkeypatch.setattr(kind, "backward", watch.after(kind.backward))
    return watch


@pytest.fixture(autouse=True)
def small_bound(monkeypatch):
    monkeypatch.setattr(dp.patients, "_MOST_NUMBERS", BOUND)


@pytest.mark.parametrize("rows_each", [1, 5])
@pytest.mark.parametrize("train", [locally, distributed])
def test_a_large_model_is_worked_through_a_few_rows_at_a_time(held, train, rows_each):
    module = held(model())
    train(module, records(rows_each))
    rows = rows_at_once(trained_size(module), INPUTS)
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
    assert rows_at_once(parameters, 0) == rows_at_once(0, parameters) == rows


def test_by_default_there_is_room_for_a_gigabyte(monkeypatch):
    monkeypatch.undo()
    assert rows_at_once(10_000_000, 0) * 10_000_000 * 4 <= 2**30
    assert rows_at_once(10_000_000, 0) == 26
    assert rows_at_once(0, 10_000_000) == 26


# --- Rows that are large -------------------------------------------------------------------------------------

SIZE, CHANNELS, IMAGES = 16, 8, 20
# Of what trained layers put out, the gradients too.
OF_LAYERS = SIZE**2 * (1 + 2 * CHANNELS + 9 + CHANNELS + CHANNELS // 4) + 2 * CHANNELS + 2


def images() -> PatientRecords:
    return PatientRecords(torch.randn(IMAGES, 1, SIZE, SIZE), torch.arange(IMAGES) % 2, np.arange(IMAGES))


def convolutional() -> nn.Sequential:
    """Few parameters, and a large image at each layer: there is room for three in `BOUND`."""
    pool = [nn.MaxPool2d(2), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(nn.Conv2d(1, CHANNELS, 3, padding=1), nn.ReLU(), *pool, nn.Linear(CHANNELS, 1))


@pytest.fixture
def seen():
    """Called with a model, watches it: how many rows its first layer saw at a time."""
    batches: list[int] = []

    def watch(module: nn.Sequential) -> list[int]:
        module[0].register_forward_hook(lambda _layer, inputs, _output: batches.append(len(inputs[0])))
        return batches

    return watch


def test_the_size_of_a_row_is_that_of_itself_of_layers_outputs_and_of_what_a_trained_convolution_unfolds():
    module = convolutional()
    assert row_size(module, torch.zeros(1, 1, SIZE, SIZE)) == OF_LAYERS
    module[0].requires_grad_(requires_grad=False)
    assert row_size(module, torch.zeros(1, 1, SIZE, SIZE)) == OF_LAYERS - (9 + CHANNELS) * SIZE**2


def test_to_measure_a_row_leaves_the_model_as_it_is(seen):
    module = convolutional()
    module.append(nn.Dropout())
    before, drawn = [parameter.clone() for parameter in module.parameters()], torch.get_rng_state()
    row_size(module, torch.zeros(1, 1, SIZE, SIZE))
    assert module.training
    assert all(torch.equal(old, new) for old, new in zip(before, module.parameters(), strict=True))
    assert torch.equal(drawn, torch.get_rng_state())
    assert not module[0]._forward_hooks


def test_a_row_that_is_measured_stays_as_it_is_whatever_the_model_does_to_it():
    row = torch.full((1, 4), -1.0)
    row_size(nn.Sequential(nn.ReLU(inplace=True), nn.Linear(4, 1)), row)
    assert (row == -1.0).all()


@pytest.mark.parametrize("train", [locally, distributed])
def test_large_images_are_worked_through_a_few_at_a_time(seen, train):
    module = convolutional()
    batches = seen(module)
    train(module, images())
    assert max(batches) == BOUND // row_size(module, torch.zeros(1, 1, SIZE, SIZE)) == 3
    assert trained_size(module) * IMAGES < BOUND


@pytest.mark.parametrize("train", [locally, distributed])
def test_control_images_for_all_of_which_there_is_room_are_held_at_once(seen, train, monkeypatch):
    monkeypatch.setattr(dp.patients, "_MOST_NUMBERS", 1 << 30)
    module = convolutional()
    batches = seen(module)
    train(module, images())
    assert max(batches) == IMAGES


@pytest.mark.parametrize(("pixels", "rows"), [(28, 256), (256, 20), (512, 5), (1024, 1)])
def test_by_default_the_built_in_cnn_has_as_many_images_at_a_time_as_make_a_gigabyte(pixels, rows, monkeypatch):
    monkeypatch.undo()
    module = build_image_model(ModelSpec(name="cnn"), 1, pixels, 2)
    assert rows_at_once(trained_size(module), row_size(module, torch.zeros(1, 1, pixels, pixels))) == rows
