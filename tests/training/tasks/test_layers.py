from __future__ import annotations

import pytest
from torch import nn

from secagg.errors import InputError
from training.tasks.layers import last_layer, replace_layers


def test_the_last_layer_is_the_last_that_was_registered_with_weights_to_multiply_by():
    model = nn.Sequential(nn.Linear(2, 3), nn.Sequential(nn.Conv2d(3, 4, 1), nn.GroupNorm(2, 4)), nn.ReLU())
    assert last_layer(model) == ("1.0", model[1][0])


def test_a_model_that_is_a_single_layer_is_its_own_last():
    model = nn.Linear(2, 3)
    assert last_layer(model) == ("", model)


def test_a_model_without_such_a_layer_is_refused():
    with pytest.raises(InputError) as caught:
        last_layer(nn.Sequential(nn.Embedding(2, 3)))
    assert caught.value.reason == "no-last-layer"


def test_layers_are_replaced_wherever_they_stand():
    shared = nn.ReLU()
    model = nn.Sequential(shared, nn.ModuleDict({"inner": nn.ModuleList([shared, nn.Tanh()])}))
    changed = replace_layers(model, lambda layer: nn.GELU() if isinstance(layer, nn.ReLU) else None)
    assert changed is model
    assert isinstance(model[0], nn.GELU)
    assert model[1]["inner"][0] is model[0]
    assert isinstance(model[1]["inner"][1], nn.Tanh)


def test_a_layer_under_two_names_of_one_parent_is_replaced_under_both():
    shared = nn.ReLU()
    model = nn.Sequential(shared, nn.Tanh(), shared)
    model.register_module("none", None)
    replace_layers(model, lambda layer: nn.GELU() if isinstance(layer, nn.ReLU) else None)
    assert isinstance(model[0], nn.GELU)
    assert model[2] is model[0]


def test_the_model_itself_can_be_replaced():
    assert isinstance(replace_layers(nn.ReLU(), lambda _: nn.GELU()), nn.GELU)
