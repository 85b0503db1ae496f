from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from secagg.errors import InputError
from training.model_state import ModelLayout, TensorShape, flatten, load, model_digest


def model() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))


def test_parameters_stand_sorted_by_name() -> None:
    layout = ModelLayout.of(model())
    assert layout.tensors == (
        TensorShape("0.bias", (3,)),
        TensorShape("0.weight", (3, 2)),
        TensorShape("2.bias", (1,)),
        TensorShape("2.weight", (1, 3)),
    )
    assert layout.size == 13


def test_a_vector_loaded_into_another_model_makes_it_the_same() -> None:
    one, other = model(), model()
    load(other, flatten(one))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
    assert flatten(one).dtype == np.float32


def test_flattening_copies() -> None:
    module = model()
    vector = flatten(module)
    vector[:] = 7
    assert not (flatten(module) == 7).any()


def test_tensors_and_vector_are_one_thing() -> None:
    module = model()
    layout = ModelLayout.of(module)
    tensors = layout.to_tensors(flatten(module))
    assert tensors["0.weight"].shape == (3, 2)
    np.testing.assert_array_equal(layout.to_vector(tensors), flatten(module))


def test_frozen_parameters_are_left_out() -> None:
    module = model()
    module[0].requires_grad_(False)
    before = module[0].weight.clone()
    assert ModelLayout.of(module).size == 4
    load(module, np.ones(4, np.float32))
    assert torch.equal(module[0].weight, before)
    with pytest.raises(InputError, match="no trainable"):
        ModelLayout.of(nn.ReLU())


def test_a_layer_that_learns_its_shape_from_rows_is_refused() -> None:
    with pytest.raises(InputError) as caught:
        ModelLayout.of(nn.Sequential(nn.LazyLinear(1)))
    assert (caught.value.reason, caught.value.culprit) == ("model-unshaped", "0.bias")


def test_a_model_with_buffers_is_refused_and_group_norm_recommended() -> None:
    with pytest.raises(InputError) as caught:
        ModelLayout.of(nn.Sequential(nn.BatchNorm1d(2)))
    assert caught.value.reason == "model-has-buffers"
    assert "GroupNorm" in str(caught.value.remedy)


def test_half_precision_is_refused() -> None:
    with pytest.raises(InputError) as caught:
        flatten(model().half())
    assert caught.value.reason == "model-not-float32"


def test_a_vector_of_the_wrong_kind_is_refused() -> None:
    for vector in (np.zeros(12, np.float32), np.zeros(13, np.float64), np.zeros((13, 1), np.float32)):
        with pytest.raises(InputError) as caught:
            load(model(), vector)
        assert caught.value.reason == "model-shape"


def test_a_model_that_is_not_finite_is_refused_naming_the_tensor() -> None:
    vector = np.zeros(13, np.float32)
    vector[9] = np.nan
    with pytest.raises(InputError) as caught:
        load(model(), vector)
    assert caught.value.reason == "model-not-finite"
    assert caught.value.culprit == "2.bias"


def test_the_digest_names_the_numbers_and_the_shapes():
    module = model()
    layout, vector = ModelLayout.of(module), flatten(model())
    assert len(model_digest(layout, vector)) == 32
    changed = vector.copy()
    changed[0] = np.nextafter(changed[0], np.float32(1))
    renamed = ModelLayout(tuple(TensorShape(f"x{tensor.name}", tensor.shape) for tensor in layout.tensors))
    assert len({model_digest(layout, vector), model_digest(layout, changed), model_digest(renamed, vector)}) == 3
