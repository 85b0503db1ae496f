"""A simulation says of somebody's own task what raises no error and mostly is a mistake."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from tests.support.custom_tasks import LEADS, SAMPLES, SeriesTask
from tests.support.hospitals import choices_of, settings_for
from training.custom_task_cautions import own_code
from training.records import Records
from training.simulation import Observer, run
from training.simulation_folder import prepare
from training.task import TaskSpec

SPEC = TaskSpec.from_settings("tests.support.custom_tasks:series", b"{}")


def hospital(count=12, labels=2):
    features = np.random.default_rng(3).normal(size=(count, LEADS, SAMPLES)).astype(np.float32)
    return Records(features, np.arange(count) % labels, np.arange(count), (), "signals")


def codes(task, *hospitals):
    return [caution.code for caution in own_code(task, hospitals or (hospital(),))]


class SumTask(SeriesTask):
    """Adds up where it should take the mean."""

    def loss(self, outputs, labels):
        return functional.binary_cross_entropy_with_logits(outputs[:, 0], labels.float(), reduction="sum")


class SpreadTask(SeriesTask):
    """Compares each output, (n, 1), with all labels, (n,)."""

    def loss(self, outputs, labels):
        return torch.square(outputs.sigmoid() - labels).mean()


class DrawingTask(SeriesTask):
    """Drops numbers out wherever the model is used."""

    def scores(self, outputs):
        return super().scores(functional.dropout(outputs, 0.5))


class DropoutTask(SeriesTask):
    """Drops numbers out in training alone."""

    def build_model(self):
        return nn.Sequential(super().build_model(), nn.Dropout(0.5))


class NoisyLossTask(SeriesTask):
    """A mean over rows, each of which is moved by chance."""

    def loss(self, outputs, labels):
        return super().loss(outputs + torch.randn_like(outputs), labels)


class PairsTask(SeriesTask):
    """Compares rows, as a contrastive loss does: of a single one it has nothing."""

    def loss(self, outputs, labels):
        if len(labels) < 2:
            raise ValueError("no pair")
        return torch.square(outputs[0] - outputs[1]).mean()


@pytest.mark.parametrize(
    ("task", "told"),
    [
        (SumTask, ["loss-not-a-mean"]),
        (SpreadTask, ["loss-not-a-mean"]),
        (DrawingTask, ["random-scores"]),
        (SeriesTask, []),
        (DropoutTask, []),
        (PairsTask, []),
        (NoisyLossTask, []),
    ],
)
def test_a_loss_that_is_no_mean_and_scores_that_are_drawn_are_told_and_nothing_else_is(task, told):
    assert codes(task(SPEC)) == told


def test_a_loss_is_tried_where_labels_differ():
    healthy = replace(hospital(), labels=np.zeros(12, np.int64))
    assert codes(SpreadTask(SPEC), healthy) == []
    assert codes(SpreadTask(SPEC), healthy, hospital()) == ["loss-not-a-mean"]


def test_labels_that_are_no_classes_are_told():
    assert codes(SeriesTask(SPEC), hospital(), hospital(labels=3)) == ["labels-beyond-classes"]


def test_what_is_tried_draws_nothing_of_what_training_draws():
    before = torch.get_rng_state()
    codes(DrawingTask(SPEC))
    assert torch.equal(torch.get_rng_state(), before)


@dataclass(frozen=True)
class BuiltIn(SumTask):
    """Not tried: tests are there for those."""


def test_tasks_that_come_with_the_toolkit_are_not_tried():
    spec = TaskSpec.from_settings("image-classification", b'{"data": {"image_size": 8}}')
    assert codes(BuiltIn(spec)) == []


def test_a_simulation_tells_it_with_its_other_warnings(tmp_path):
    paths = [tmp_path / f"h{number}.npy" for number in range(1, 4)]
    for path in paths:
        np.save(path, hospital().features)
    spec = TaskSpec.from_settings("tests.support.custom_tasks:from_one", b'{"evaluation": {"test_fraction": 0.25}}')
    prepare(tmp_path / "run", settings_for(paths, choices_of(), spec))
    heard = []
    result = run(tmp_path / "run", Observer(on_start=lambda _charter, told: heard.extend(told)))
    assert [caution.code for caution in heard] == ["labels-beyond-classes"]
    assert set(heard) <= set(result.warnings)
