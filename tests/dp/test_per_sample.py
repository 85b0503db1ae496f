"""Gradients of single samples beside those of Opacus' own module, which has autograd work out all gradients."""

from __future__ import annotations

import warnings
import weakref

import pytest
import torch
from opacus import GradSampleModule
from opacus.layers import DPGRU, DPLSTM, DPMultiheadAttention
from torch import nn
from torch.nn import functional

from dp.per_sample import PerSampleModule, per_sample
from secagg.errors import InputError

ROWS = 5


def seeded(build, seed=3):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()


def drawn(*shape):
    return torch.randn(ROWS, *shape, generator=torch.Generator().manual_seed(5))


class Scaled(nn.Module):
    """A layer of one's own, for which Opacus has no formula."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.full((4,), 0.5))

    def forward(self, values):
        return values * self.scale.exp()


class Twice(nn.Module):
    """The same layer used twice."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, values):
        return self.layer(torch.tanh(self.layer(values)))


class Recurrent(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.cells = kind(4, 6, batch_first=True)

    def forward(self, values):
        return self.cells(values)[0][:, -1]


class Attentive(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = DPMultiheadAttention(4, 2, batch_first=True)

    def forward(self, values):
        return self.attention(values, values, values)[0]


class Frozen(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Linear(4, 4).requires_grad_(False)
        self.head = nn.Linear(4, 2)

    def forward(self, values):
        return self.head(torch.relu(self.body(values)))


MODELS = {
    "linear": (lambda: nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)), (4,)),
    "linear on a sequence": (lambda: nn.Linear(4, 3), (7, 4)),
    "without biases": (lambda: nn.Sequential(nn.Linear(4, 3, bias=False), nn.Tanh(), nn.Linear(3, 1)), (4,)),
    "images": (
        lambda: nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1), nn.GroupNorm(2, 4), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 4, 3, groups=2)
        ),
        (1, 8, 8),
    ),
    "strides and holes": (lambda: nn.Conv2d(2, 3, (3, 2), stride=(2, 1), dilation=(1, 2), padding=(1, 0)), (2, 9, 9)),
    "signals": (lambda: nn.Sequential(nn.Conv1d(2, 3, 3, padding="same"), nn.LayerNorm(9)), (2, 9)),
    "volumes": (lambda: nn.Conv3d(1, 2, 2), (1, 4, 4, 4)),
    "a layer of one's own": (lambda: nn.Sequential(nn.Linear(4, 4), Scaled()), (4,)),
    "used twice": (Twice, (4,)),
    "recurrent": (lambda: Recurrent(DPLSTM), (6, 4)),
    "gated": (lambda: Recurrent(DPGRU), (6, 4)),
    "attention": (Attentive, (6, 4)),
    "frozen in part": (Frozen, (4,)),
}


def loss(outputs):
    return (functional.softplus(outputs).flatten(1).sum(dim=1) ** 2).mean()


def found(model):
    return {name: tensor.grad_sample for name, tensor in model.named_parameters() if tensor.requires_grad}


@pytest.fixture(params=MODELS.values(), ids=MODELS)
def case(request):
    build, shape = request.param
    return lambda: seeded(build), drawn(*shape)


def by_opacus(build, samples):
    model = build().train()
    with warnings.catch_warnings():
        # Torch warns of hooks on the first layer, whose inputs need no gradient; Opacus relies on them.
        warnings.simplefilter("ignore")
        loss(GradSampleModule(model)(samples)).backward()
    return found(model)


def test_gradients_are_those_of_opacus_to_the_bit(case):
    build, samples = case
    model = build()
    with per_sample(model) as module:
        module.backward(loss(module(samples)))
        ours = found(model)
    theirs = by_opacus(build, samples)
    assert ours
    assert ours.keys() == theirs.keys()
    for name, gradients in theirs.items():
        assert len(gradients) == ROWS
        assert torch.equal(ours[name], gradients), name


@pytest.mark.parametrize("model_too", [False, True], ids=["records", "model and records"])
@pytest.mark.parametrize(
    ("layer", "side", "layout"),
    [(nn.Conv2d, (7, 6), torch.channels_last), (nn.Conv3d, (5, 4, 3), torch.channels_last_3d)],
    ids=["images", "volumes"],
)
def test_gradients_do_not_depend_on_how_images_lie_in_memory(layer, side, layout, model_too):
    samples = drawn(3, *side)

    def build():
        return seeded(lambda: nn.Sequential(layer(3, 4, 3, padding=1), nn.Tanh(), layer(4, 2, 2)))

    expected = by_opacus(build, samples)
    model = build().to(memory_format=layout) if model_too else build()
    with per_sample(model) as module:
        module.backward(loss(module(samples.to(memory_format=layout))))
        ours = found(model)
    for name, gradients in expected.items():
        torch.testing.assert_close(ours[name], gradients, rtol=1e-4, atol=1e-5)


def test_a_second_pass_has_nothing_of_the_first(case):
    build, samples = case
    model = build()
    with per_sample(model) as module:
        for given in (samples.flip(0), samples):
            module.zero_grad(set_to_none=True)
            module.backward(loss(module(given)))
        ours = found(model)
    for name, gradients in by_opacus(build, samples).items():
        assert torch.equal(ours[name], gradients), name


def test_no_gradient_of_the_mean_is_worked_out(case):
    build, samples = case
    model = build()
    with per_sample(model) as module:
        module.backward(loss(module(samples)))
        assert all(tensor.grad is None for tensor in model.parameters())
        assert not any(layer._backward_hooks for layer in model.modules())


class Residual(nn.Module):
    """As such blocks are usually written: what comes out of a layer is changed in place, what goes in is not."""

    def __init__(self, *, inplace):
        super().__init__()
        self.inplace = inplace
        self.first, self.second = nn.Conv2d(1, 1, 3, padding=1), nn.Conv2d(1, 1, 3, padding=1)

    def forward(self, values):
        within = self.second(functional.relu(self.first(values), inplace=self.inplace))
        if self.inplace:
            within += values
            return within
        return within + values


@pytest.mark.parametrize(
    ("build", "shape"),
    [
        (lambda inplace: nn.Sequential(nn.Linear(4, 3), nn.ReLU(inplace=inplace), nn.Linear(3, 2)), (4,)),
        (lambda inplace: Residual(inplace=inplace), (1, 6, 6)),
    ],
)
def test_what_a_layers_output_is_changed_to_in_place_does_not_count(build, shape):
    gradients = []
    for inplace in (True, False):
        model = seeded(lambda: build(inplace))  # noqa: B023
        with per_sample(model) as module:
            module.backward(loss(module(drawn(*shape))))
            gradients.append(list(found(model).values()))
    assert len(gradients[0]) == 4
    assert all(torch.equal(*pair) for pair in zip(*gradients, strict=True))


class Skipping(nn.Module):
    """What comes out of the first layer is used, then changed in place, then used again."""

    def __init__(self, *, inplace):
        super().__init__()
        self.first, self.second, self.drop = nn.Linear(4, 4), nn.Linear(4, 4), nn.Dropout(inplace=inplace)

    def forward(self, values):
        out = self.first(values)
        return self.second(out * 2 + self.drop(out))


class Spoiling(nn.Module):
    """What goes into the first layer is changed in place before it goes into the second."""

    def __init__(self, *, inplace):
        super().__init__()
        self.first, self.second, self.drop = nn.Linear(4, 4), nn.Linear(4, 4), nn.Dropout(inplace=inplace)

    def forward(self, values):
        return self.first(values) + self.second(self.drop(values))


@pytest.mark.parametrize("build", [Skipping, Spoiling])
def test_what_a_layers_gradient_is_made_from_must_not_be_changed_in_place(build):
    # Of a sequence, a linear layer puts out a view.
    samples = drawn(7, 4)
    with per_sample(build(inplace=True)) as module, pytest.raises(InputError, match="changed in place") as refused:
        module.backward(loss(module(samples.clone())))
    assert refused.value.reason == "not-private-model"
    model = build(inplace=False)
    with per_sample(model) as module:
        module.backward(loss(module(samples)))
        assert all(len(gradients) == ROWS for gradients in found(model).values())


def test_a_layer_whose_output_counts_for_nothing_has_no_gradient():
    class Idle(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.idle = nn.Linear(4, 2), nn.Linear(4, 2)

        def forward(self, values):
            self.idle(values)
            return self.used(values)

    model = seeded(Idle)
    with per_sample(model) as module:
        module.backward(loss(module(drawn(4))))
        assert model.idle.weight.grad_sample is None
        assert len(model.used.weight.grad_sample) == ROWS


def test_afterwards_a_model_is_as_it_was(case):
    build, samples = case
    model = build()
    known = {id(layer): set(vars(layer)) for layer in model.modules()}
    with pytest.raises(RuntimeError, match="scalar"), per_sample(model) as module:
        module.backward(module(samples))
    for layer in model.modules():
        assert set(vars(layer)) == known[id(layer)]
        assert not layer._forward_hooks
    assert not any(hasattr(tensor, "grad_sample") for tensor in model.parameters())


def test_where_no_pass_back_follows_nothing_is_left_that_holds_records():
    with per_sample(nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2))) as module:
        samples = drawn(4)
        module(samples)
        alive = weakref.ref(samples)
        del samples
        assert alive() is not None
    # Whoever still has it keeps nothing.
    assert module is not None
    assert alive() is None


def test_a_model_is_wrapped_once():
    with per_sample(nn.Sequential(nn.Linear(4, 3))) as module, pytest.raises(ValueError, match="hooks twice"):
        PerSampleModule(module._module)


@pytest.mark.parametrize("outputs", [lambda values: values, lambda values: {"out": values}])
def test_a_layer_whose_outputs_gradient_cannot_be_had_has_none(outputs):
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(4))

        def forward(self, values):
            return outputs(values)

    class Around(nn.Module):
        def __init__(self):
            super().__init__()
            self.odd, self.head = Odd(), nn.Linear(4, 2)

        def forward(self, values):
            self.odd(values)
            return self.head(values)

    model = Around()
    with per_sample(model) as module:
        module.backward(loss(module(drawn(4))))
        assert model.odd.scale.grad_sample is None
        assert len(model.head.weight.grad_sample) == ROWS
