from __future__ import annotations

import pytest
import torch

from secagg.errors import InputError
from training.tasks.models import build_image_model, build_table_model, class_scores, classification_loss
from training.tasks.spec import ModelSpec

MODELS = [
    build_table_model(ModelSpec("logistic"), 13, 2),
    build_table_model(ModelSpec("mlp", hidden=(8, 4)), 13, 3),
    build_image_model(ModelSpec("cnn"), 1, 28, 2),
    build_image_model(ModelSpec("cnn", channels=(6,)), 3, 8, 5),
    build_image_model(ModelSpec("mlp"), 1, 8, 2),
    build_image_model(ModelSpec("logistic"), 3, 8, 2),
]


def test_the_same_seed_builds_the_same_model_and_another_seed_another() -> None:
    first, again, other = (build_table_model(ModelSpec("mlp", seed=seed), 5, 2) for seed in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    assert not torch.equal(next(first.parameters()), next(other.parameters()))


def test_building_a_model_leaves_the_global_generator_alone() -> None:
    before = torch.random.get_rng_state()
    build_image_model(ModelSpec("cnn"), 1, 28, 2)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("model", MODELS)
def test_no_model_keeps_buffers(model: torch.nn.Module) -> None:
    assert list(model.buffers()) == []


def test_the_cnn_for_small_x_rays_has_about_fifteen_thousand_parameters() -> None:
    model = build_image_model(ModelSpec("cnn"), 1, 28, 2)
    assert sum(parameter.numel() for parameter in model.parameters()) == 14_497
    assert model(torch.zeros(2, 1, 28, 28)).shape == (2, 1)


@pytest.mark.parametrize("classes", [2, 3])
def test_scores_are_probabilities_and_agree_with_the_loss(classes: int) -> None:
    model = build_table_model(ModelSpec("logistic"), 4, classes)
    outputs = model(torch.linspace(-2, 2, 20).reshape(5, 4))
    labels = torch.tensor([0, 1, 1, 0, classes - 1])
    scores = class_scores(outputs)
    assert scores.shape == (5, classes)
    torch.testing.assert_close(scores.sum(dim=1), torch.ones(5))
    torch.testing.assert_close(classification_loss(outputs, labels), -scores[torch.arange(5), labels].log().mean())


def test_a_model_that_does_not_fit_its_input_is_refused() -> None:
    with pytest.raises(InputError, match="does not take a table"):
        build_table_model(ModelSpec("cnn"), 4, 2)
    with pytest.raises(InputError, match="too small for 3 convolutions"):
        build_image_model(ModelSpec("cnn"), 1, 7, 2)


def test_a_table_model_without_inputs_is_refused() -> None:
    with pytest.raises(InputError) as caught:
        build_table_model(ModelSpec("logistic"), 0, 2)
    assert caught.value.reason == "bad-task"
    assert "features" in str(caught.value.remedy)
