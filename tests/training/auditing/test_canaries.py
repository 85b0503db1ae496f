"""Canaries weigh what they should: as much as a patient can, and in a direction of their own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from dp.per_sample import per_sample
from secagg.errors import InputError
from training.auditing.canaries import OVERWEIGHT, CanaryTask, canary_records, canary_spec
from training.auditing.claim import ORDINARY
from training.draft import make_task, task_choice
from training.task import Task, TaskSpec


def test_a_canarys_gradient_is_in_its_own_direction_whatever_the_model():
    records = canary_records(np.array([0, 2]), clip_norm=0.5)
    task = make_task(canary_spec(4))
    model = task.build_model()
    torch.nn.init.normal_(model.parameter_of.weight)
    with per_sample(model) as module:
        module.backward(task.loss(module(torch.from_numpy(records.features)), torch.from_numpy(records.labels)))
        gradients = module._module.parameter_of.weight.grad_sample[:, :, 0].numpy()
    assert gradients.shape == (ORDINARY + 2, 5)
    assert not gradients[:ORDINARY, 1:].any()
    assert gradients[ORDINARY:].tolist() == [[0, -OVERWEIGHT * 0.5, 0, 0, 0], [0, 0, 0, -OVERWEIGHT * 0.5, 0]]


def test_each_canary_is_a_patient_of_its_own():
    records = canary_records(np.arange(30), clip_norm=1.0)
    assert records.patient_count == len(records) == ORDINARY + 30


def test_a_hospital_without_canaries_has_patients():
    assert canary_records(np.empty(0, np.int64), clip_norm=1.0).patient_count == ORDINARY


def test_it_is_a_task_that_a_charter_can_name():
    spec = canary_spec(12)
    choice = task_choice(spec)
    task = make_task(TaskSpec.from_settings(choice.kind, choice.settings_json()))
    assert isinstance(task, Task)
    assert task.inner == CanaryTask(spec)
    assert sum(parameter.numel() for parameter in task.build_model().parameters()) == 13
    assert task.scores(torch.ones(3, 1)).shape == (3, 2)


def test_canaries_are_read_from_no_file():
    with pytest.raises(InputError) as caught:
        CanaryTask(canary_spec(2)).read(Path("records.csv"))
    assert caught.value.reason == "canaries-in-no-file"
