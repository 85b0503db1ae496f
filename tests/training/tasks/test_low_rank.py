"""A pair beside a frozen layer starts as nothing, learns by itself, and can be added to the layer."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import prune, spectral_norm, weight_norm

from dp.per_sample import per_sample
from secagg.errors import InputError
from training.tasks.layers import last_layer
from training.tasks.low_rank import LowRank, add_low_rank, merged

LABELS = torch.tensor([0, 1, 1, 0])


def images():
    return torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(3))


def model():
    with torch.random.fork_rng():
        torch.manual_seed(4)
        return nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=2, padding=1, padding_mode="zeros"),
            nn.GroupNorm(2, 8),
            nn.ReLU(inplace=True),
            nn.Conv2d(8, 6, (3, 1), dilation=2, padding="same", bias=False),
            nn.Flatten(),
            nn.Linear(6 * 16, 10),
            nn.ReLU(),
            nn.Linear(10, 2),
        )


def adapted(rank=3, seed=5, started=True):
    found = model()
    _, head = last_layer(found)
    found = add_low_rank(found, rank, seed, head)
    head.requires_grad_(requires_grad=True)
    if not started:
        return found
    for layer in found.modules():
        if isinstance(layer, LowRank):
            nn.init.normal_(layer.up.weight, std=0.3, generator=torch.Generator().manual_seed(6))
    return found


def loss(outputs, labels):
    return nn.functional.cross_entropy(outputs, labels)


def test_the_start_computes_what_the_model_did():
    torch.testing.assert_close(adapted(started=False)(images()), model()(images()))
    assert not torch.allclose(adapted()(images()), model()(images()))


def test_only_pairs_and_the_head_are_trainable():
    trainable = [name for name, tensor in adapted().named_parameters() if tensor.requires_grad]
    pairs = [f"{layer}.{part}.weight" for layer in (0, 3, 5) for part in ("down", "up")]
    assert trainable == [*pairs, "7.weight", "7.bias"]


def test_the_rank_is_no_more_than_the_smaller_side_of_a_layer():
    ranks = [layer.down.weight.shape[0] for layer in adapted(rank=100).modules() if isinstance(layer, LowRank)]
    assert ranks == [8, 6, 10]


def test_the_same_seed_draws_the_same_pairs_and_another_seed_others():
    first, again, other = (adapted(seed=seed)[0].down.weight for seed in (5, 5, 6))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_the_pairs_are_not_drawn_like_the_model_of_the_same_seed():
    with torch.random.fork_rng():
        torch.manual_seed(5)
        layer = nn.Linear(9, 9)
    pair = add_low_rank(nn.Sequential(layer), 9, 5, but=nn.Identity())[0]
    assert not torch.allclose(pair.down.weight, layer.weight)


def test_drawing_pairs_leaves_the_global_generator_alone():
    before = torch.random.get_rng_state()
    adapted()
    assert torch.equal(torch.random.get_rng_state(), before)


def test_each_sample_has_its_own_gradient_on_the_pairs_and_none_on_what_is_frozen():
    module = adapted()
    with per_sample(module) as hooked:
        hooked.backward(loss(hooked(images()), LABELS))
        found = {name: tensor.grad_sample for name, tensor in module.named_parameters() if tensor.requires_grad}
        frozen = [tensor for tensor in module.parameters() if not tensor.requires_grad]
        assert all(getattr(tensor, "grad_sample", None) is None for tensor in frozen)
        assert all(tensor.grad is None for tensor in frozen)
        assert not any(hasattr(layer.frozen, "activations") for layer in module.modules() if isinstance(layer, LowRank))
    for row, label in enumerate(LABELS):
        module.zero_grad()
        loss(module(images()[row : row + 1]), label[None]).backward()
        for name, tensor in module.named_parameters():
            if tensor.requires_grad:
                torch.testing.assert_close(found[name][row], tensor.grad, atol=1e-6, rtol=1e-4)


def test_merged_it_is_the_model_that_it_was_made_from_and_computes_what_the_pairs_do():
    trained = adapted()
    expected = trained(images())
    whole = merged(copy.deepcopy(trained))
    torch.testing.assert_close(whole(images()), expected)
    assert [(name, type(layer)) for name, layer in whole.named_modules()] == [
        (name, type(layer)) for name, layer in model().named_modules()
    ]


@pytest.mark.parametrize(
    "layer",
    [nn.Conv2d(4, 4, 3, groups=2), nn.Conv1d(4, 4, 3), nn.Embedding(3, 4), nn.MultiheadAttention(4, 2).out_proj],
    ids=str,
)
def test_other_layers_are_frozen_and_have_no_pair(layer):
    found = add_low_rank(nn.Sequential(layer), 2, 0, but=nn.Identity())
    assert found[0] is layer
    assert not any(tensor.requires_grad for tensor in found.parameters())


def test_a_layer_that_is_used_twice_has_one_pair_and_is_merged_to_what_was_trained():
    layer, head = nn.Linear(6, 6), nn.Linear(6, 2)
    trained = add_low_rank(nn.Sequential(layer, nn.ReLU(), layer, nn.ReLU(), head), 2, 5, but=head)
    assert isinstance(trained[0], LowRank)
    assert trained[2] is trained[0]
    nn.init.normal_(trained[0].up.weight)
    rows = torch.randn(4, 6)
    expected = trained(rows)
    torch.testing.assert_close(merged(copy.deepcopy(trained))(rows), expected, atol=1e-5, rtol=1e-4)


def tied(first, second):
    """Two layers with one weight."""
    second.weight = first.weight
    return first, second


def viewed(first, second):
    """Two layers with a parameter each, which are the same memory."""
    second.weight = nn.Parameter(first.weight.data)
    return first, second


@pytest.mark.parametrize("share", [tied, viewed])
@pytest.mark.parametrize("other", [nn.Linear(6, 6), nn.Embedding(6, 6)], ids=str)
def test_a_layer_that_shares_its_weight_with_another_is_refused(share, other):
    model = nn.Sequential(*share(nn.Linear(6, 6), copy.deepcopy(other)), nn.Linear(6, 2))
    assert refused(lambda: add_low_rank(model, 2, 5, but=model[2])) == ("not-mergeable", "0")


def test_layers_whose_weights_are_parts_of_one_tensor_share_no_number_and_are_merged():
    layers = [nn.Linear(6, 6) for _ in range(3)]
    for layer, part in zip(layers, torch.randn(18, 6).chunk(3), strict=True):
        layer.weight = nn.Parameter(part)
    head = nn.Linear(6, 2)
    trained = add_low_rank(nn.Sequential(*layers, head), 2, 5, but=head)
    for layer in trained[:3]:
        nn.init.normal_(layer.up.weight)
    rows = torch.randn(4, 6)
    expected = trained(rows)
    torch.testing.assert_close(merged(copy.deepcopy(trained))(rows), expected, atol=1e-4, rtol=1e-4)


def test_so_is_one_that_shares_it_with_the_last_layer():
    first, head = tied(nn.Linear(6, 6), nn.Linear(6, 6))
    assert refused(lambda: add_low_rank(nn.Sequential(first, head), 2, 5, but=head)) == ("not-mergeable", "0")


def test_a_last_layer_may_share_its_weight_with_one_that_has_no_pair():
    head, other = tied(nn.Linear(6, 6), nn.Embedding(6, 6))
    model = add_low_rank(nn.Sequential(other, nn.Linear(6, 6), head), 2, 5, but=head)
    assert [type(layer) for layer in model] == [nn.Embedding, LowRank, nn.Linear]


@pytest.mark.parametrize(
    "reparametrised",
    [weight_norm, spectral_norm, lambda layer: prune.l1_unstructured(layer, "weight", 0.5)],
    ids=["weight_norm", "spectral_norm", "prune"],
)
def test_a_layer_whose_weight_is_computed_is_refused(reparametrised):
    model = nn.Sequential(reparametrised(nn.Linear(4, 6)), nn.Linear(6, 2))
    assert refused(lambda: add_low_rank(model, 2, 5, but=model[1])) == ("not-mergeable", "0")


def test_a_layer_that_computes_something_else_once_it_is_merged_is_refused():
    trained = adapted()
    trained[5].frozen.register_forward_hook(lambda layer, inputs, outputs: 2 * outputs)
    assert refused(lambda: merged(trained)) == ("not-mergeable", "5")


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(3, 4, 1),
        nn.Conv2d(3, 4, (5, 3), padding="same", padding_mode="reflect"),
        nn.Conv2d(3, 4, 1, padding=3, padding_mode="circular"),
        nn.Conv2d(3, 4, 3, stride=2, padding=1, dilation=(2, 1)),
        nn.Linear(5, 3, bias=False),
    ],
    ids=str,
)
def test_any_layer_that_has_a_pair_is_merged(layer):
    trained = add_low_rank(nn.Sequential(layer), 2, 5, but=nn.Identity())
    nn.init.normal_(trained[0].up.weight)
    rows = torch.randn(2, 3, 8, 8) if isinstance(layer, nn.Conv2d) else torch.randn(2, 5)
    expected = trained(rows)
    torch.testing.assert_close(merged(trained)(rows), expected, atol=1e-5, rtol=1e-4)


def refused(attempt):
    with pytest.raises(InputError) as caught:
        attempt()
    return caught.value.reason, caught.value.culprit
