"""DP-SGD is plain SGD plus exactly two things: one patient's bounded weight, and noise."""

from __future__ import annotations

import copy
import dataclasses

import numpy as np
import opacus.optimizers.optimizer as opacus_optimizer
import pytest
import torch
from torch import nn

from dp import training
from dp.gaussian import GaussianMechanism, gaussian
from dp.plan import PrivacyPlan
from dp.randomness import secure_generator
from dp.training import PatientRecords, SecureNoiseOptimizer, SgdSettings, train_privately
from secagg.errors import InputError
from training.tasks.models import build_image_model, build_table_model, classification_loss
from training.tasks.spec import ModelSpec

CPU = torch.device("cpu")
KEY = bytes(range(16))
ALMOST_NONE = 1e-12
HUGE = 1e9
WHOLE_GRADIENT = SgdSettings(learning_rate=1.0)
PLAN = PrivacyPlan(
    mode="local", noise_multiplier=1.0, clip_norm=0.5, sampling_rate=0.3, delta=1e-5, rounds=5, steps_per_round=4
)


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def plan(**changes) -> PrivacyPlan:
    return dataclasses.replace(PLAN, **changes)


EXACT = plan(noise_multiplier=ALMOST_NONE / HUGE, clip_norm=HUGE, sampling_rate=1.0, steps_per_round=1)


def table(rows: int = 24, rows_each: int = 1, scale: float = 1.0) -> PatientRecords:
    numbers = np.random.default_rng(3)
    features = torch.from_numpy((scale * numbers.normal(size=(rows, 4))).astype(np.float32))
    labels = torch.from_numpy(numbers.integers(0, 3, rows))
    return PatientRecords(features, labels, np.arange(rows) // rows_each)


def only(records: PatientRecords, chosen: np.ndarray) -> PatientRecords:
    _, patients = np.unique(records.patients[chosen], return_inverse=True)
    return PatientRecords(records.features[chosen], records.labels[chosen], patients)


def perceptron() -> nn.Module:
    return build_table_model(ModelSpec(name="mlp", hidden=(5,), seed=1), 4, 3)


def convolutional() -> nn.Module:
    return build_image_model(ModelSpec(name="cnn", channels=(8, 8), seed=1), 1, 8, 2)


def images(patients: int = 10, rows_each: int = 2) -> PatientRecords:
    numbers = np.random.default_rng(4)
    rows = patients * rows_each
    features = torch.from_numpy(numbers.normal(size=(rows, 1, 8, 8)).astype(np.float32))
    return PatientRecords(features, torch.from_numpy(numbers.integers(0, 2, rows)), np.arange(rows) // rows_each)


def flat(model: nn.Module) -> torch.Tensor:
    return torch.cat([parameter.detach().reshape(-1).double() for parameter in model.parameters()])


def trained(model, records, used, settings=WHOLE_GRADIENT, key=KEY) -> nn.Module:
    train_privately(model, records, classification_loss, used, settings, secure_generator(key), CPU)
    return model


def step(records, used, model=None, **options) -> torch.Tensor:
    """The one step that a round of one step takes, times minus one: what SGD saw as the gradient."""
    model = model or perceptron()
    before = flat(model)
    return before - flat(trained(model, records, used, **options))


def patient_gradients(model: nn.Module, records: PatientRecords) -> torch.Tensor:
    """By plain autograd, one patient at a time: the gradient of the mean loss of their rows."""
    found = []
    for patient in range(records.count):
        rows = np.flatnonzero(records.patients == patient)
        model.zero_grad()
        classification_loss(model(records.features[rows]), records.labels[rows]).backward()
        found.append(torch.cat([parameter.grad.reshape(-1).double() for parameter in model.parameters()]))
    model.zero_grad()
    return torch.stack(found)


def test_without_noise_clipping_or_sampling_a_round_is_plain_sgd():
    records, ours, plain = table(), perceptron(), perceptron()
    settings = {"momentum": 0.9, "weight_decay": 0.1}
    trained(ours, records, dataclasses.replace(EXACT, steps_per_round=6), SgdSettings(learning_rate=0.2, **settings))
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.2, **settings)
    for _ in range(6):
        optimizer.zero_grad()
        classification_loss(plain(records.features), records.labels).backward()
        optimizer.step()
    assert (flat(ours) - flat(perceptron())).norm() > 0.1
    torch.testing.assert_close(flat(ours), flat(plain), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("rows_each", [1, 3])
def test_a_step_is_the_sum_of_clipped_patient_gradients_over_the_expected_batch(rows_each):
    records = table(rows_each=rows_each)
    gradients = patient_gradients(perceptron(), records)
    norms = gradients.norm(dim=1, keepdim=True)
    median = norms.median().item()
    used = plan(noise_multiplier=ALMOST_NONE, clip_norm=median, sampling_rate=1.0, steps_per_round=1)
    assert norms.min() < used.clip_norm < norms.max()
    expected = (gradients * (used.clip_norm / norms).clamp(max=1)).sum(dim=0) / records.count
    torch.testing.assert_close(step(records, used), expected, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("model", [perceptron, convolutional])
def test_one_patient_moves_the_sum_by_at_most_the_clip_norm_however_many_rows_they_have(model):
    loud = images(3, 6) if model is convolutional else table(18, 6, scale=50.0)
    used = plan(noise_multiplier=ALMOST_NONE, sampling_rate=1.0, steps_per_round=1)
    unclipped = dataclasses.replace(used, clip_norm=HUGE, noise_multiplier=ALMOST_NONE / HUGE)

    def influence(setting, patient):
        without = only(loud, loud.patients != patient)
        return (loud.count * step(loud, setting, model()) - without.count * step(without, setting, model())).norm()

    for patient in range(loud.count):
        # Float32 sums are exact to about a millionth.
        assert influence(used, patient) <= used.clip_norm * (1 + 1e-4)
    assert max(influence(unclipped, patient) for patient in range(loud.count)) > 1.5 * used.clip_norm


class InHalfPrecision(nn.Module):
    def __init__(self, precision) -> None:
        super().__init__()
        self.net, self.precision = perceptron(), precision

    def forward(self, rows):
        with torch.autocast("cpu", dtype=self.precision):
            return self.net(rows).float()


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16])
def test_a_patient_weighs_no_more_than_the_clip_norm_also_where_layers_are_in_half_precision(precision):
    loud = table(18, 1, scale=50.0)
    used = plan(noise_multiplier=ALMOST_NONE, sampling_rate=1.0, steps_per_round=1)
    weights = [step(only(loud, loud.patients == one), used, InHalfPrecision(precision)).norm() for one in range(18)]
    assert 0.9 * used.clip_norm < max(weights) <= used.clip_norm * (1 + 1e-4)


def test_rows_clipped_by_themselves_would_let_a_patient_with_many_rows_weigh_more(monkeypatch):
    loud = table(18, 6, scale=50.0)
    used = plan(noise_multiplier=ALMOST_NONE, sampling_rate=1.0, steps_per_round=1)

    def influence():
        without = only(loud, loud.patients != 0)
        return (loud.count * step(loud, used) - without.count * step(without, used)).norm()

    assert influence() <= used.clip_norm * (1 + 1e-4)
    monkeypatch.setattr(training, "_average_over_patients", lambda optimizer, patients: None)
    assert influence() > 1.5 * used.clip_norm


class SumsInSinglePrecision(SecureNoiseOptimizer):
    """The build that is attacked here: sums as Opacus has them, each addition to which rounds the whole."""

    clip_and_accumulate = opacus_optimizer.DPOptimizer.clip_and_accumulate


def summed(optimizer, gradients) -> torch.Tensor:
    """The sum of clipped gradients (n, d), worked through in parts."""
    parameter = nn.Parameter(torch.zeros(gradients.shape[1]))
    private = optimizer(torch.optim.SGD([parameter], lr=1.0), plan(clip_norm=1.0), 1.0, secure_generator(KEY))
    for part in gradients.split(256):
        parameter.grad_sample = part.clone()
        private.clip_and_accumulate()
    return parameter.summed_grad.double()


def moved_by_the_first(optimizer, patients) -> float:
    """How far, in clip norms, a sum over so many patients who all pull one way is from that without the first."""
    found = []
    for seed in range(5):
        torch.manual_seed(seed)
        gradients = 5 * (torch.randn(8) + 0.3 * torch.randn(patients, 8))
        found.append(float((summed(optimizer, gradients) - summed(optimizer, gradients[1:])).norm()))
    return max(found)


@pytest.mark.parametrize("patients", [300, 20_000, 100_000])
def test_one_patient_moves_a_sum_of_very_many_by_no_more_than_the_clip_norm(patients):
    assert moved_by_the_first(SecureNoiseOptimizer, patients) <= 1 + 1e-6


def test_control_in_single_precision_it_is_moved_by_more():
    assert moved_by_the_first(SumsInSinglePrecision, 100_000) > 1 + 1e-3


def long_gradient() -> torch.Tensor:
    """(1, d), of a weight as large as a large convolution's: one output has much of it, and each other one a little."""
    outputs = torch.full((4608,), 10 * 2**-10)
    outputs[0] = 10.0
    return torch.outer(outputs, torch.ones(512)).reshape(1, -1)


def test_a_gradient_of_millions_of_numbers_weighs_no_more_than_the_clip_norm():
    assert 1 - 1e-4 <= summed(SecureNoiseOptimizer, long_gradient()).norm() <= 1 + 1e-4


def test_control_by_a_norm_in_single_precision_it_weighs_more(monkeypatch):
    monkeypatch.setattr(training, "_norms", lambda rows: rows.norm(dim=1))
    assert summed(SecureNoiseOptimizer, long_gradient()).norm() > 1 + 1e-3


@pytest.mark.parametrize("size", [1, 1023, 1024, 1025, 5000])
def test_lengths_are_those_of_the_whole_rows(size):
    rows = torch.randn(3, size, generator=torch.Generator().manual_seed(size))
    torch.testing.assert_close(training._norms(rows), rows.double().norm(dim=1), rtol=1e-6, atol=0)
    assert training._norms(rows[:0]).shape == (0,)


def test_the_noise_has_the_deviation_that_the_plan_states():
    records, used = table(), plan(noise_multiplier=3.0, clip_norm=0.7, sampling_rate=1.0, steps_per_round=1)
    quiet = records.count * step(records, dataclasses.replace(used, noise_multiplier=ALMOST_NONE))
    keys = [number.to_bytes(16, "little") for number in range(100)]
    noise = torch.stack([records.count * step(records, used, key=key) - quiet for key in keys])
    assert noise.std().item() == pytest.approx(2.1, rel=5 / (2 * noise.numel()) ** 0.5)
    assert abs(noise.mean().item()) < 5 * 2.1 / noise.numel() ** 0.5
    # Every single parameter gets its own.
    assert noise.std(dim=0).min() > 1.3


def test_the_noise_covers_what_rounding_moves_of_all_parameters_together_also_where_one_of_them_is_small(monkeypatch):
    monkeypatch.setattr("dp.gaussian._GRID_BITS", 4)
    module = nn.Linear(4, 4000)
    used = plan(clip_norm=1.0, sampling_rate=1e-6, steps_per_round=1)
    records = PatientRecords(torch.zeros(1, 4), torch.zeros(1, dtype=torch.int64), np.zeros(1, np.int64))
    noise = step(records, used, module) * 1e-6
    of_all = GaussianMechanism(noise_multiplier=1.0, clip_norm=1.0, coordinates=20_000).deviation
    assert noise.std().item() == pytest.approx(of_all, rel=0.03)
    assert of_all > 1.1 * GaussianMechanism(noise_multiplier=1.0, clip_norm=1.0, coordinates=16_000).deviation


def test_a_smaller_sampling_rate_leaves_the_noise_on_the_sum_as_it_is():
    records, used = table(), plan(noise_multiplier=1.0, clip_norm=1e-6, sampling_rate=0.25, steps_per_round=1)
    keys = [number.to_bytes(16, "little") for number in range(100)]
    noise = 0.25 * records.count * torch.stack([step(records, used, key=key) for key in keys])
    assert noise.std().item() == pytest.approx(1e-6, rel=0.1)


def test_noise_comes_from_the_cryptographic_generator_and_not_from_opacus(monkeypatch):
    def insecure(*arguments, **options):
        raise AssertionError("noise from torch's generator")

    monkeypatch.setattr(opacus_optimizer, "_generate_noise", insecure)
    before = torch.get_rng_state()
    trained(perceptron(), table(), PLAN)
    assert torch.equal(torch.get_rng_state(), before)
    monkeypatch.setattr(training.SecureNoiseOptimizer, "add_noise", opacus_optimizer.DPOptimizer.add_noise)
    with pytest.raises(AssertionError, match="torch's generator"):
        trained(perceptron(), table(), PLAN)


class NoiseRoundedByItself(SecureNoiseOptimizer):
    """The build that is attacked here: noise is made a float32 where floats are dense, and added where they are not."""

    def add_noise(self):
        deviation = self.noise_multiplier * self.max_grad_norm
        for parameter in self.params:
            noise = torch.from_numpy(gaussian(self._noise, parameter.numel(), deviation)).float()
            parameter.grad = parameter.summed_grad + noise


def share_off_the_coarse_grid(optimizer, total, key) -> tuple[float, int]:
    """Of noisy sums below 1/4: the share that are no multiples of 2^-24, and how many there are."""
    parameter = nn.Parameter(torch.zeros(100_000))
    used = plan(noise_multiplier=1.0, clip_norm=1.0)
    private = optimizer(torch.optim.SGD([parameter], lr=1.0), used, 1.0, secure_generator(key))
    parameter.summed_grad = torch.full_like(parameter, total)
    private.add_noise()
    near = parameter.grad.double()[parameter.grad.abs() < 0.25] * 2**24
    return float((near != near.round()).double().mean()), len(near)


def test_the_low_bits_of_a_noisy_sum_do_not_show_whether_a_patient_is_in_it():
    (present, here), (absent, there) = (
        share_off_the_coarse_grid(SecureNoiseOptimizer, total, key) for total, key in ((1.0, KEY), (0.0, bytes(16)))
    )
    assert min(here, there) > 10_000
    assert absent > 0.5
    assert abs(present - absent) < 5 * (present * (1 - present) / here + absent * (1 - absent) / there) ** 0.5


def test_control_where_noise_is_rounded_by_itself_they_show_it_with_certainty():
    present, absent = (share_off_the_coarse_grid(NoiseRoundedByItself, total, KEY)[0] for total in (1.0, 0.0))
    assert present == 0
    assert absent > 0.5


def test_the_same_key_trains_the_same_model_bit_for_bit_and_another_does_not():
    first, again = (flat(trained(perceptron(), table(), PLAN)) for _ in range(2))
    other = flat(trained(perceptron(), table(), PLAN, key=bytes(16)))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_an_empty_batch_takes_its_step_and_adds_its_noise():
    # With a millionth of 24 patients, no one is in any of the four batches.
    used = plan(sampling_rate=1e-6)
    moved = [flat(trained(perceptron(), records, used)) - flat(perceptron()) for records in (table(), table(scale=7.0))]
    assert moved[0].abs().min() > 0
    assert torch.equal(*moved)
    # Four steps of noise on a sum, over an expected batch of 24 millionths.
    expected = 4**0.5 * used.noise_multiplier * used.clip_norm / (24 * 1e-6)
    assert moved[0].std().item() == pytest.approx(expected, rel=0.4)


def test_empty_batches_between_full_ones_carry_nothing_over(monkeypatch):
    samples = iter([np.arange(24), np.arange(0), np.arange(24)])
    monkeypatch.setattr(training, "poisson_sample", lambda *arguments: next(samples))
    mixed = flat(trained(perceptron(), table(), dataclasses.replace(EXACT, steps_per_round=3)))
    monkeypatch.undo()
    full = flat(trained(perceptron(), table(), dataclasses.replace(EXACT, steps_per_round=2)))
    torch.testing.assert_close(mixed, full, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("largest_batch", [1, 5, 7, 23])
def test_a_sample_worked_through_in_parts_is_the_same_step(largest_batch, monkeypatch):
    records, used = table(rows_each=3), plan(sampling_rate=1.0)
    whole = flat(trained(perceptron(), records, used))
    monkeypatch.setattr("dp.training.rows_at_once", lambda *_sizes: largest_batch)
    parts = flat(trained(perceptron(), records, used))
    torch.testing.assert_close(parts, whole, atol=1e-5, rtol=1e-5)


def test_a_pull_to_the_start_is_added_after_clipping_and_noise():
    records, settings = table(), SgdSettings(learning_rate=0.1, prox_mu=2.0)
    used = plan(noise_multiplier=ALMOST_NONE, clip_norm=1e-3, sampling_rate=1.0, steps_per_round=1)
    first, second = perceptron(), perceptron()
    trained(first, records, used, settings)
    trained(second, records, dataclasses.replace(used, steps_per_round=2), settings)
    start, once, twice = flat(perceptron()), flat(first), flat(second)
    # At the start there is nothing to pull; after one step the pull is mu times the way gone, unclipped.
    free = flat(trained(copy.deepcopy(first), records, used, SgdSettings(learning_rate=0.1)))
    torch.testing.assert_close(once - twice, (once - free) + 0.1 * 2.0 * (once - start), atol=1e-7, rtol=1e-3)
    assert (twice - free).norm() > 0.5 * 0.1 * 2.0 * (once - start).norm()


def test_the_pull_takes_no_part_in_clipping():
    far = SgdSettings(learning_rate=1.0, prox_mu=0.5)
    used = plan(noise_multiplier=1e4, clip_norm=1e-3, sampling_rate=1.0, steps_per_round=2)
    free, pulled = (
        flat(trained(perceptron(), table(), used, settings)) - flat(perceptron()) for settings in (WHOLE_GRADIENT, far)
    )
    one = flat(trained(perceptron(), table(), dataclasses.replace(used, steps_per_round=1))) - flat(perceptron())
    # The first step's noise is halved again by the pull; had it been clipped at a thousandth, it would have stayed.
    torch.testing.assert_close(free - pulled, 0.5 * one, atol=0.01, rtol=0.05)


def test_weight_decay_shrinks_what_the_data_do_not_hold():
    used = plan(noise_multiplier=ALMOST_NONE, clip_norm=1e-9, sampling_rate=1.0, steps_per_round=3)
    shrunk = flat(trained(perceptron(), table(), used, SgdSettings(learning_rate=0.1, weight_decay=0.5)))
    torch.testing.assert_close(shrunk, 0.95**3 * flat(perceptron()), atol=1e-6, rtol=1e-5)


def test_frozen_parameters_stay_and_the_others_are_clipped_by_themselves():
    model = perceptron()
    frozen = next(model.parameters())
    frozen.requires_grad_(requires_grad=False)
    before = copy.deepcopy(model)
    used = plan(noise_multiplier=ALMOST_NONE, sampling_rate=1.0, steps_per_round=1, clip_norm=1e-3)
    moved = step(table(), used, model)
    assert torch.equal(frozen, next(before.parameters()))
    assert not frozen.requires_grad
    assert not moved[: frozen.numel()].any()
    # Every patient at the clip norm, in different directions.
    assert 1e-4 < moved[frozen.numel() :].norm() <= 1e-3 * (1 + 1e-4)


@pytest.mark.parametrize(("build", "records"), [(perceptron, table()), (convolutional, images())])
def test_the_model_comes_out_as_it_went_in_but_for_its_values(build, records, monkeypatch):
    model = build()

    def inventory():
        holders = [*model.named_modules(), *model.named_parameters()]
        hooks = [(len(layer._forward_hooks), len(layer._backward_hooks)) for layer in model.modules()]
        return [(name, type(holder), sorted(vars(holder))) for name, holder in holders], hooks

    before, start = inventory(), flat(model)
    monkeypatch.setattr("dp.training.rows_at_once", lambda *_sizes: 5)
    trained(model, records, PLAN)
    assert inventory() == before
    assert all(parameter.grad is None for parameter in model.parameters())
    middle = flat(model)
    trained(model, records, PLAN)
    assert inventory() == before
    assert not torch.equal(middle, start)
    assert not torch.equal(flat(model), middle)
    classification_loss(model(records.features), records.labels).backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters())


class OnApple(torch.Tensor):
    """Stands in for a tensor on Apple's device: only once it has moved to the CPU is it converted to float64."""

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        if function is torch.Tensor.to and args[0].dtype != torch.float64 and args[1:] == (CPU,) and not kwargs:
            return args[0].as_subclass(torch.Tensor)
        found = super().__torch_function__(function, types, args, kwargs)
        if isinstance(found, torch.Tensor) and found.dtype == torch.float64:
            raise TypeError(
                "Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support float64."
            )
        return found


def test_where_a_device_has_no_float64_gradients_are_widened_only_after_they_have_left_it():
    rows, total = torch.randn(3, 2000), torch.zeros(2000, dtype=torch.float64)
    there = rows.as_subclass(OnApple)
    norms = training._norms(there)
    assert type(norms) is torch.Tensor
    torch.testing.assert_close(norms, rows.double().norm(dim=1), atol=0, rtol=1e-6)
    training._add_weighted(total, there, 1 / norms)
    torch.testing.assert_close(total, (rows.double() / norms[:, None]).sum(dim=0), atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize(
    "at_once", [lambda rows: rows.to(dtype=torch.float64, device=CPU), lambda rows: torch.zeros(5).double().copy_(rows)]
)
def test_control_there_both_in_one_step_is_an_error(at_once):
    with pytest.raises(TypeError, match="float64"):
        at_once(torch.ones(5).as_subclass(OnApple))


def test_training_that_breaks_off_leaves_no_patient_on_the_model():
    def breaks(outputs, labels):
        raise ZeroDivisionError

    model = perceptron()
    before = [sorted(vars(holder)) for holder in (*model.modules(), *model.parameters())]
    with pytest.raises(ZeroDivisionError):
        train_privately(model, table(), breaks, PLAN, WHOLE_GRADIENT, secure_generator(KEY), CPU)
    assert [sorted(vars(holder)) for holder in (*model.modules(), *model.parameters())] == before
    trained(model, table(), PLAN)


def test_a_convolutional_model_learns_privately_what_it_can_learn():
    numbers = np.random.default_rng(6)
    labels = numbers.integers(0, 2, 200)
    features = numbers.normal(size=(200, 1, 8, 8)).astype(np.float32)
    features[labels == 1, :, :4] += 1.5
    records = PatientRecords(torch.from_numpy(features), torch.from_numpy(labels), np.arange(200))
    model = convolutional()
    with torch.no_grad():
        before = classification_loss(model(records.features), records.labels)
    used = plan(noise_multiplier=0.5, clip_norm=1.0, sampling_rate=0.3, steps_per_round=40)
    trained(model, records, used, SgdSettings(learning_rate=0.3, momentum=0.5))
    with torch.no_grad():
        after = classification_loss(model(records.features), records.labels)
    assert after < 0.5 * before


@pytest.mark.parametrize(
    "norm",
    [
        nn.BatchNorm1d(5),
        nn.Sequential(nn.BatchNorm1d(5, affine=False)),
        nn.BatchNorm1d(5, affine=False, track_running_stats=False),
        nn.Sequential(nn.Unflatten(1, (5, 1)), nn.InstanceNorm1d(5, track_running_stats=True), nn.Flatten()),
    ],
    ids=str,
)
def test_a_layer_that_mixes_patients_is_refused_before_anything_is_trained(norm):
    model = nn.Sequential(nn.Linear(4, 5), norm, nn.Linear(5, 3))
    before = flat(model)
    with pytest.raises(InputError) as caught:
        trained(model, table(), PLAN)
    assert caught.value.reason == "not-private-model"
    assert "GroupNorm" in caught.value.remedy
    assert torch.equal(flat(model), before)


@pytest.mark.filterwarnings("ignore:overflow")
def test_training_that_diverges_is_an_error_that_says_what_to_do():
    with pytest.raises(InputError) as caught:
        trained(perceptron(), table(), PLAN, SgdSettings(learning_rate=1e38, weight_decay=10.0))
    assert caught.value.reason == "training-diverged"
    assert "learning rate" in caught.value.remedy
