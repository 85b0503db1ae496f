"""A task of somebody's own is tried before anybody trains: what would go wrong in silence is said at once."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace

import msgspec
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from secagg.errors import InputError
from tests.support.custom_tasks import LEADS, SAMPLES, AboveMeanTask, LogitsTask, SeriesTask, positions
from tests.support.hospitals import choices_of, settings_for, training_of
from training.custom_task_check import require_single_scores, require_usable_loss, require_usable_scores
from training.draft import draft_charter
from training.evaluation import count_cells, evaluate
from training.hospital_setup import require_private_task
from training.records import Records
from training.simulation import Observer, run
from training.simulation_folder import prepare
from training.task import TaskSpec

CPU = torch.device("cpu")
CLASSES = 5000


def spec_of(kind):
    return TaskSpec.from_settings(f"tests.support.custom_tasks:{kind}", b'{"evaluation": {"test_fraction": 0.25}}')


@pytest.fixture
def signal_files(tmp_path):
    """Those of three hospitals, and others to test with."""
    generator = np.random.default_rng(1)
    paths = [tmp_path / f"{name}.npy" for name in ("h1", "h2", "h3", "test")]
    for path in paths:
        np.save(path, generator.normal(size=(12, LEADS, SAMPLES)).astype(np.float32))
    return paths


@pytest.fixture
def simulated(tmp_path, signal_files):
    """Prepares and runs a short simulation of a task in `tests.support.custom_tasks`."""

    def simulated(kind, **choices):
        prepare(tmp_path / "run", settings_for(signal_files[:3], choices_of(**choices), spec_of(kind)))
        return run(tmp_path / "run", Observer())

    return simulated


@pytest.mark.parametrize(
    ("kind", "reason", "told"),
    [
        ("logits", "bad-scores", "not from 0 to 1"),
        ("one_column", "bad-scores", r"gave \(3, 1\) for a batch of 3"),
        ("transposed", "bad-scores", r"gave \(2, 3\) for a batch of 3"),
        ("squeezed", "model-fails", "IndexError: Dimension out of range"),
        ("across_rows", "bad-scores", "do not sum to 1"),
        ("unseeded", "unseeded-model", "other parameters each time"),
        ("unset", "model-not-finite", "not finite numbers"),
        ("same_module", "reused-model", "the same module each time"),
        ("array", "bad-scores", "gave ndarray instead of a tensor"),
        ("wrong_width", "model-fails", "mat1 and mat2"),
        ("no_mean", "training-fails", "RuntimeError: grad can be implicitly created only for scalar outputs"),
        ("column_loss", "training-fails", "ValueError: Target size"),
        ("number_loss", "training-fails", "AttributeError: 'float' object has no attribute 'backward'"),
        ("recurrent", "training-fails", "RuntimeError: Trying to backward through the graph a second time"),
        ("no_signal", "model-fails", "AssertionError: a row of zeros"),
    ],
)
def test_a_mistake_in_ones_own_task_is_told_with_its_name_before_anything_is_trained(
    simulated, tmp_path, kind, reason, told
):
    with pytest.raises(InputError, match=told) as caught:
        simulated(kind)
    assert (caught.value.reason, caught.value.culprit) == (reason, f"tests.support.custom_tasks:{kind}")
    assert not (tmp_path / "run/history.jsonl").exists()


def test_scores_that_are_not_each_rows_own_are_refused_where_noisy_counts_are_made_of_them(simulated):
    private = {"privacy": "local", "epsilon": 8.0, "sampling_rate": 0.5, "training": training_of(local_steps=1)}
    with pytest.raises(InputError, match="not each row's own") as caught:
        simulated("above_mean", metrics="noisy", **private)
    assert (caught.value.reason, caught.value.culprit) == ("bad-scores", "tests.support.custom_tasks:above_mean")


def test_and_may_compare_rows_where_none_are(simulated):
    assert simulated("above_mean").federated.patients


def test_what_fails_in_ones_own_reading_is_told_with_the_file_and_in_full_by_a_simulation(simulated, tmp_path):
    with pytest.raises(InputError, match=r"failed on .*h1\.npy \(KeyError: 'no lead II beside") as caught:
        simulated("quoting")
    assert (caught.value.reason, caught.value.culprit) == ("reading-fails", str(tmp_path / "h1.npy"))
    assert "simulation" not in caught.value.diagnostics()


def test_what_fails_when_rows_are_tried_for_differential_privacy_is_told_in_full_by_a_simulation(simulated):
    private = {"privacy": "local", "epsilon": 8.0, "sampling_rate": 0.5, "training": training_of(local_steps=1)}
    with pytest.raises(InputError, match=r"single rows fail \(ValueError: Target size") as caught:
        simulated("column_loss", **private)
    assert caught.value.reason == "not-private-model"


@pytest.mark.parametrize("broken", ["h1.npy", "test.npy"])
def test_and_so_it_is_where_a_file_was_broken_since_the_run_was_prepared(signal_files, tmp_path, broken):
    settings = settings_for(signal_files[:3], choices_of(), spec_of("series"))
    tested = msgspec.structs.replace(settings.source, test=str(signal_files[3]))
    prepare(tmp_path / "run", msgspec.structs.replace(settings, source=tested))
    (tmp_path / broken).write_bytes(b"no array")
    with pytest.raises(InputError, match=rf"{broken} \(\w+: .*pickle") as caught:
        run(tmp_path / "run", Observer())
    assert caught.value.reason == "reading-fails"


def test_signals_that_were_flipped_are_trained_on_with_differential_privacy_too(signal_files, tmp_path):
    spec = TaskSpec.from_settings("tests.support.custom_tasks:flipped", b'{"evaluation": {"test_fraction": 0}}')
    private = choices_of(training_of(local_steps=1), privacy="local", epsilon=8.0, sampling_rate=1.0)
    settings = settings_for(signal_files[:3], private, spec)
    prepare(tmp_path / "run", settings)
    assert run(tmp_path / "run", Observer()).rounds[-1].record.step == 3


def test_labels_that_are_no_classes_are_refused_where_patients_are_counted_by_them(simulated):
    with pytest.raises(InputError, match="outside 0 to 1") as caught:
        simulated("from_one", metrics="exact")
    assert caught.value.reason == "bad-labels"


def test_a_loss_of_ones_own_may_know_other_labels(simulated):
    assert simulated("from_one").federated.patients


@pytest.mark.parametrize("train", ["last-layer", "lora"])
def test_a_module_that_is_kept_is_told_as_that_whatever_is_made_of_it_the_second_time(train):
    settings = json.dumps({"model": {"train": train}}).encode()
    with pytest.raises(InputError) as caught:
        draft_charter(choices_of(), (), TaskSpec.from_settings("tests.support.custom_tasks:same_module", settings))
    assert caught.value.reason == "reused-model"


def test_control_the_same_task_without_the_mistake_is_trained(simulated):
    assert simulated("series").federated.accuracy is not None


@pytest.mark.parametrize("privacy", ["none", "local", "distributed"])
def test_a_model_with_a_rule_that_a_row_of_zeros_breaks_is_tried_on_patients_and_trained(simulated, privacy):
    assert simulated("no_empty_signal", privacy=privacy).federated.accuracy is not None


@pytest.mark.parametrize("privacy", ["none", "local", "distributed"])
def test_a_model_that_keeps_what_it_computed_while_it_was_tried_is_trained(simulated, privacy):
    training = training_of(batch_size=2)
    assert simulated("positions", training=training, privacy=privacy).federated.accuracy is not None


@pytest.mark.parametrize("measure", [evaluate, count_cells])
def test_a_model_may_use_in_training_what_it_kept_of_rows_that_it_was_measured_on(measure):
    task, records = positions(spec_of("positions")), signals()
    model = task.build_model()
    measure(task, model, records, CPU)
    task.loss(model(torch.from_numpy(records.features)), torch.from_numpy(records.labels)).backward()
    assert torch.isfinite(model.first.weight.grad).all()


class Shifting(nn.Module):
    """Changes the rows that it is given, as ``x -= mean`` does."""

    def __init__(self):
        super().__init__()
        self.last = nn.Linear(LEADS * SAMPLES, 1)

    def forward(self, rows):
        rows -= 3.0
        return self.last(rows.flatten(1))


@pytest.mark.parametrize("measure", [evaluate, count_cells])
def test_a_model_that_changes_its_rows_in_place_leaves_the_records_as_they_were(measure):
    records = signals()
    before = records.features.copy()
    measure(SeriesTask(spec_of("series")), Shifting(), records, CPU)
    assert np.array_equal(records.features, before)


class SteepTask(SeriesTask):
    """Its outputs are made of gradients: of how steep a score is at the row."""

    def scores(self, outputs):
        with torch.enable_grad():
            return super().scores(outputs.clone().requires_grad_())


@pytest.mark.parametrize("measure", [evaluate, count_cells])
def test_scores_may_take_gradients(measure):
    task = SteepTask(spec_of("series"))
    require_usable_scores(task, signals())
    assert measure(task, task.build_model(), signals(), CPU) is not None


class RankTask(SeriesTask):
    """Scores by the place among all rows."""

    def scores(self, outputs):
        risk = outputs[:, 0].argsort().argsort() / len(outputs)
        return torch.stack([1 - risk, risk], dim=1)


class FromZerosTask(AboveMeanTask):
    """Its model gives every row the same at the start."""

    def build_model(self):
        model = super().build_model()
        for parameter in model.parameters():
            nn.init.zeros_(parameter)
        return model


class StretchedModelTask(SeriesTask):
    """Its model stretches outputs over those of the batch, outside of training alone."""

    def build_model(self):
        return Stretched(super().build_model())


class Stretched(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, rows):
        outputs = self.inner(rows)
        return outputs if self.training else outputs / outputs.abs().max()


class SpreadTask(SeriesTask):
    """Scores by the spread of the batch, of which copies have none."""

    def scores(self, outputs):
        if not outputs.std():
            raise ValueError("no spread")
        return super().scores(outputs / outputs.std())


class DroppingTask(SeriesTask):
    """Draws wherever it is used, for each row by itself."""

    def scores(self, outputs):
        return super().scores(functional.dropout(outputs, 0.5))


class StrictTask(SeriesTask):
    """Takes no outputs but those that its model gives."""

    def build_model(self):
        return nn.Sequential(super().build_model(), nn.Sigmoid())

    def scores(self, outputs):
        if outputs.min() < 0 or outputs.max() > 1:
            raise ValueError("no probability")
        return torch.cat([1 - outputs, outputs], dim=1)


@pytest.mark.parametrize("task", [AboveMeanTask, RankTask, FromZerosTask, StretchedModelTask, SpreadTask])
def test_scores_that_depend_on_the_rows_beside_are_refused(task):
    with pytest.raises(InputError, match="not each row's own") as caught:
        require_single_scores(task(spec_of("above_mean")), signals())
    assert caught.value.reason == "bad-scores"


@pytest.mark.parametrize("task", [SeriesTask, DroppingTask, StrictTask, SteepTask])
def test_scores_of_each_row_by_itself_pass(task):
    require_single_scores(task(spec_of("series")), signals())


@pytest.mark.parametrize(("task", "least", "most"), [(SeriesTask, 1, 1), (AboveMeanTask, 10, 200)])
def test_control_with_such_scores_a_patient_moves_counts_by_more_than_the_one_that_noise_is_sized_for(
    task, least, most
):
    # Of whole batches: the last patient has 31 beside.
    features = np.random.default_rng(2).normal(size=(224, LEADS, SAMPLES)).astype(np.float32)
    features[-1] = 1e4
    everybody = Records(features, np.zeros(224, np.int64), np.arange(224), (), "signals")
    own = task(spec_of("series"))
    with_last, without = (
        count_cells(own, own.build_model(), kept, CPU) for kept in (everybody, everybody.take(range(223)))
    )
    assert least <= np.linalg.norm(with_last - without) <= most


class WarmTask(SeriesTask):
    """Takes a step on made-up rows while its model is built."""

    def build_model(self):
        model = super().build_model()
        model(torch.ones(1, LEADS, SAMPLES)).sum().backward()
        model.zero_grad()
        return model


def test_what_builds_a_model_may_take_gradients():
    require_usable_scores(WarmTask(spec_of("series")), signals())


class ManyClassesTask(SeriesTask):
    """5,000 of them."""

    def build_model(self):
        return FewRows()

    def scores(self, outputs):
        return outputs.softmax(dim=1)


class FewRows(nn.Module):
    """Has no memory for more than three."""

    def __init__(self):
        super().__init__()
        self.last = nn.Linear(LEADS * SAMPLES, CLASSES)

    def forward(self, rows):
        if len(rows) > 3:
            raise MemoryError
        return self.last(rows.flatten(1))


def test_a_task_of_many_classes_is_tried_on_few_rows():
    settings = json.dumps({"data": {"classes": CLASSES}}).encode()
    spec = TaskSpec.from_settings("tests.support.custom_tasks:series", settings)
    require_usable_scores(ManyClassesTask(spec), signals())


class Echo(nn.Module):
    """Fails with the row that it was given in its words."""

    def forward(self, rows):
        raise ValueError(rows.flatten()[0].item())


class EchoTask(SeriesTask):
    """Its model tells what it saw."""

    def build_model(self):
        return Echo()


def test_what_fails_on_a_patients_row_is_told_by_its_type_alone():
    records = signals()
    with pytest.raises(InputError, match=r"rows of records \(ValueError\)") as caught:
        require_usable_scores(EchoTask(spec_of("series")), records)
    assert str(records.features[0, 0, 0].item()) not in caught.value.diagnostics()


@dataclass(frozen=True)
class TellingTask(SeriesTask):
    """Its loss fails at patients' labels, and tells them."""

    def loss(self, outputs, labels):
        """A mean, unless somebody is ill."""
        if len(labels) > 3:
            raise ValueError(labels.tolist())
        return super().loss(outputs, labels)


def test_what_fails_at_patients_labels_is_told_by_its_type_alone():
    with pytest.raises(InputError, match=r"on records \(ValueError\)"):
        require_usable_loss(TellingTask(spec_of("series")), signals(), training_of(), CPU)


class TellingOfFewTask(SeriesTask):
    """The same, of however few patients."""

    def loss(self, outputs, labels):
        """None."""
        raise ValueError(f"no lead II beside {labels.tolist()}")


def test_and_so_it_is_where_rows_are_tried_for_differential_privacy():
    with pytest.raises(InputError, match=r"single rows fail \(ValueError\)") as caught:
        require_private_task(TellingOfFewTask(spec_of("series")), signals())
    assert caught.value.reason == "not-private-model"
    assert "lead" not in caught.value.diagnostics()


@dataclass(frozen=True)
class KeepingTask(SeriesTask):
    """Computes weights of the classes from the first batch, and keeps them."""

    kept: list[torch.Tensor] = field(default_factory=list)

    def loss(self, outputs, labels):
        if not self.kept:
            self.kept.append(1 / torch.bincount(labels).float().clamp(min=1))
        return functional.cross_entropy(torch.cat([-outputs, outputs], dim=1), labels, weight=self.kept[0])


def test_what_code_keeps_of_patients_is_not_told_by_a_later_fault_either():
    records = replace(signals(), labels=np.array([0, 1, 0, 1, 0, 1, 0, 37]))
    with pytest.raises(InputError, match=r"on records \(RuntimeError\)") as caught:
        require_usable_loss(KeepingTask(spec_of("series")), records, training_of(batch_size=8), CPU)
    assert "38" not in caught.value.diagnostics()


class Idle(nn.Module):
    """Gives zero for rows of zeros and of ones, and other numbers for patients."""

    def forward(self, rows):
        return (rows.flatten(1) * (rows.flatten(1) - 1)).sum(dim=1, keepdim=True)


def signals():
    features = np.random.default_rng(2).normal(size=(8, LEADS, SAMPLES)).astype(np.float32)
    return Records(features, np.arange(8) % 2, np.arange(8), (), "signals")


def test_scores_that_are_no_probabilities_of_patients_alone_are_refused_where_patients_may_be_looked_at():
    with pytest.raises(InputError) as caught:
        evaluate(LogitsTask(spec_of("logits")), Idle(), signals(), CPU)
    assert caught.value.reason == "bad-scores"
    assert evaluate(SeriesTask(spec_of("series")), Idle(), signals(), CPU).patients == 8


def test_limit_counts_for_a_sum_are_made_of_any_numbers_since_an_error_would_tell_of_patients():
    assert count_cells(LogitsTask(spec_of("logits")), Idle(), signals(), CPU).sum() == 8
