"""Survival models: a loss of each patient's own, risks in the right order, and what is counted of them."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.utility.survival import concordance, discrete, partial
from training.task import load_custom_task, load_task_file

TASKS = Path(__file__).parents[2] / "benchmarks/utility/tasks"
LABELS = torch.tensor([2 * 400 + 1, 2 * 1500, 2 * 3000 + 1, 2 * 5000, 2 * 10 + 1])


@pytest.fixture
def model():
    return discrete(load_task_file(TASKS / "tcga-brca.toml"))


def test_the_files_name_the_tasks():
    assert load_custom_task(load_task_file(TASKS / "tcga-brca.toml")).build_model().risk.in_features == 39
    assert load_custom_task(load_task_file(TASKS / "tcga-brca-cox.toml")).build_model().in_features == 39


def test_the_discrete_loss_is_the_mean_of_the_losses_of_its_rows(model):
    outputs = torch.randn(5, 8, generator=torch.Generator().manual_seed(1))
    apart = [model.loss(outputs[row : row + 1], LABELS[row : row + 1]) for row in range(5)]
    torch.testing.assert_close(model.loss(outputs, LABELS), torch.stack(apart).mean())


def test_control_coxs_partial_likelihood_is_not():
    task = partial(load_task_file(TASKS / "tcga-brca-cox.toml"))
    outputs = torch.randn(5, 1, generator=torch.Generator().manual_seed(1))
    apart = [task.loss(outputs[row : row + 1], LABELS[row : row + 1]) for row in range(5)]
    assert abs(task.loss(outputs, LABELS) - torch.stack(apart).mean()) > 0.1


def test_who_dies_in_the_second_year_has_survived_the_first_and_not_the_second(model):
    hazards = [0.1, 0.2, *[0.5] * 6]
    outputs = torch.tensor([[math.log(h / (1 - h)) for h in hazards]])
    assert model.loss(outputs, LABELS[:1]).item() == pytest.approx(-math.log(0.9 * 0.2), rel=1e-5)
    # Seen for four years and a tenth, and then no more: four years survived.
    assert model.loss(outputs, LABELS[1:2]).item() == pytest.approx(-math.log(0.9 * 0.8 * 0.5**2), rel=1e-5)


def test_scores_are_the_chance_of_dying_in_five_years(model):
    scores = model.scores(torch.full((1, 8), math.log(0.1 / 0.9)))
    torch.testing.assert_close(scores, torch.tensor([[0.9**5, 1 - 0.9**5]]))


def test_coxs_loss_is_the_logarithm_of_the_chance_that_these_were_the_ones_who_died():
    task = partial(load_task_file(TASKS / "tcga-brca-cox.toml"))
    risks = torch.tensor([[math.log(2.0)], [0.0], [math.log(3.0)]])
    labels = torch.tensor([2 * 1 + 1, 2 * 2, 2 * 3 + 1])
    # First one of three dies; of the last there is only one.
    assert task.loss(risks, labels).item() == pytest.approx(-(math.log(2 / 6) + math.log(1.0)) / 2)


def test_the_c_index_is_that_of_pairs_of_which_one_surely_died_first():
    labels = np.array([2 * 5 + 1, 2 * 3, 2 * 8 + 1, 2 * 9])
    # Pairs: first and third, first and fourth, third and fourth. Who left on day 3 is in none.
    assert concordance(labels, np.array([3.0, 9.0, 2.0, 1.0])) == 1.0
    assert concordance(labels, np.array([2.0, 9.0, 3.0, 1.0])) == pytest.approx(2 / 3)
    assert concordance(labels, np.array([1.0, 1.0, 1.0, 1.0])) == 0.5
    assert concordance(2 * np.arange(3), np.zeros(3)) is None
