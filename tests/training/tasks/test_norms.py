"""No record is normalised by another's, and what takes BatchNorm's place is the same everywhere."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from training.tasks.norms import FixedNorm, fix_norms, group_norms


def images(channels=16):
    return torch.linspace(-1, 2, 5 * channels * 16).reshape(5, channels, 4, 4).sin() * 3


class Shared(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4))
        self.again = self.first[1]


@pytest.mark.parametrize(
    "norm",
    [
        nn.BatchNorm2d(16),
        nn.BatchNorm2d(16, affine=False),
        nn.BatchNorm2d(16, track_running_stats=False),
        nn.SyncBatchNorm(16),
    ],
    ids=str,
)
def test_every_batch_norm_becomes_a_norm_that_treats_each_record_by_itself(norm):
    model, count = group_norms(nn.Sequential(nn.ReLU(), norm))
    assert count == 1
    assert not list(model.buffers())
    whole, alone = model(images()), torch.cat([model(image[None]) for image in images()])
    torch.testing.assert_close(whole, alone)


def test_control_batch_norm_itself_mixes_records():
    model = nn.BatchNorm2d(16)
    alone = torch.cat([model(image[None]) for image in images()])
    assert (model(images()) - alone).abs().max() > 0.1


@pytest.mark.parametrize(("channels", "groups"), [(1, 1), (3, 1), (6, 2), (16, 8), (32, 16), (64, 32), (96, 32)])
def test_a_group_of_an_image_holds_two_channels_or_more(channels, groups):
    model, _ = group_norms(nn.BatchNorm2d(channels))
    assert model.num_groups == groups


def test_a_vector_is_normalised_as_a_whole_and_not_to_zeros():
    model, _ = group_norms(nn.BatchNorm1d(32))
    vectors = torch.randn(3, 32, generator=torch.Generator().manual_seed(1))
    assert model(vectors).std() > 0.9
    # What a group for each channel, the default for so few, would make of them.
    assert nn.GroupNorm(32, 32)(vectors).abs().max() < 1e-4


def test_the_new_layer_starts_as_the_old_one_and_is_as_frozen():
    old = nn.BatchNorm2d(8)
    nn.init.constant_(old.weight, 3.0)
    old.bias.requires_grad_(False)
    model, _ = group_norms(nn.Sequential(old))
    assert torch.equal(model[0].weight, torch.full((8,), 3.0))
    assert (model[0].weight.requires_grad, model[0].bias.requires_grad) == (True, False)


def test_a_layer_that_stands_in_two_places_is_replaced_once_and_stays_shared():
    model, count = group_norms(Shared())
    assert count == 1
    assert model.again is model.first[1]
    assert isinstance(model.again, nn.GroupNorm)


class OwnNorm(nn.BatchNorm2d):
    pass


@pytest.mark.parametrize("layer", [OwnNorm(4), nn.BatchNorm1d(1), nn.LazyBatchNorm2d(), nn.Linear(2, 2)], ids=str)
def test_what_cannot_be_replaced_stays(layer):
    model, count = group_norms(nn.Sequential(layer))
    assert (model[0], count) == (layer, 0)


def test_a_fixed_norm_computes_what_batch_norm_does_outside_training():
    old = nn.BatchNorm2d(16, eps=0.01)
    generator = torch.Generator().manual_seed(2)
    for tensor in (old.weight.data, old.bias.data, old.running_mean, old.running_var):
        tensor.copy_(torch.rand(16, generator=generator) + 0.1)
    expected = old.eval()(images())
    model, count = fix_norms(nn.Sequential(old), {"0.running_mean", "0.running_var"})
    assert count == 1
    model[0].load_state_dict({name: value for name, value in old.state_dict().items() if "num" not in name})
    torch.testing.assert_close(model(images()), expected)
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert not list(model.buffers())


def test_only_norms_whose_statistics_are_known_are_fixed():
    model, count = fix_norms(nn.Sequential(nn.BatchNorm2d(4), nn.BatchNorm2d(4)), {"1.running_mean", "1.running_var"})
    assert count == 1
    assert [type(layer) for layer in model] == [nn.BatchNorm2d, FixedNorm]
