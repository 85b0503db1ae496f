"""Low-rank adaptation: layers that stay as they are, with a small trainable pair beside each.

LoRA (Hu et al. 2021, section 4.1): W x becomes W x + B A x, where W is frozen, A is drawn at random and B is zero, so
that training starts from the unchanged model. The factor alpha / r of the paper is one: alpha is the rank. A and B are
plain layers in a row, for which Opacus has per-sample gradients; W has none and costs none.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn

from secagg.errors import InputError
from secagg.labels import digest
from training.tasks.layers import replace_layers

ADAPTED: Final = (nn.Linear, nn.Conv2d)
_ROUNDING: Final = 1e-4


class LowRank(nn.Module):
    """A frozen linear or convolutional layer and its pair; ``down`` is A, ``up`` is B."""

    def __init__(self, frozen: nn.Linear | nn.Conv2d, rank: int) -> None:
        super().__init__()
        self.frozen = frozen
        down: nn.Module
        up: nn.Linear | nn.Conv2d
        if isinstance(frozen, nn.Linear):
            rank = min(rank, frozen.in_features, frozen.out_features)
            down = nn.Linear(frozen.in_features, rank, bias=False)
            up = nn.Linear(rank, frozen.out_features, bias=False)
        else:
            rank = min(rank, frozen.in_channels * frozen.weight[0, 0].numel(), frozen.out_channels)
            down = nn.Conv2d(
                frozen.in_channels,
                rank,
                frozen.kernel_size,  # type: ignore[arg-type]
                frozen.stride,  # type: ignore[arg-type]
                frozen.padding,  # type: ignore[arg-type]
                frozen.dilation,  # type: ignore[arg-type]
                bias=False,
                padding_mode=frozen.padding_mode,
            )
            up = nn.Conv2d(rank, frozen.out_channels, kernel_size=1, bias=False)
        nn.init.zeros_(up.weight)
        self.down, self.up = down, up

    def forward(self, inputs: Tensor) -> Tensor:
        """What the frozen layer gives, plus what the pair adds."""
        return self.frozen(inputs) + self.up(self.down(inputs))  # type: ignore[no-any-return]

    def merged(self) -> nn.Module:
        """The frozen layer with W + B A in the place of W."""
        with torch.no_grad():
            self.frozen.weight += torch.einsum("or...,ri...->oi...", self.up.weight, self.down.weight)
        return self.frozen

    def example(self) -> Tensor:
        """Two inputs that the layer takes, the same every time: float32 (2, ...), the smallest for a convolution."""
        if isinstance(self.frozen, nn.Linear):
            shape: tuple[int, ...] = (self.frozen.in_features,)
        else:
            reach = [
                step * (side - 1) for step, side in zip(self.frozen.dilation, self.frozen.kernel_size, strict=True)
            ]
            padding = max(self.frozen._reversed_padding_repeated_twice)
            shape = (self.frozen.in_channels, *(1 + side + padding for side in reach))
        count = 2 * int(torch.Size(shape).numel())
        return torch.sin(torch.arange(count, dtype=torch.float32)).reshape(2, *shape)


def add_low_rank(model: nn.Module, rank: int, seed: int, but: nn.Module) -> nn.Module:
    """``model``, changed in place, with pairs beside all linear and convolutional layers; only pairs are trainable.

    The rank is at most the smaller side of a layer's weight. Convolutions in groups get no pair.

    Args:
        but: a layer that gets none.

    Raises:
        InputError: ``not-mergeable``, for a layer to whose weight no pair could be added after training.
    """
    names = {id(layer): name for name, layer in model.named_modules()}
    held = [_memory(tensor) for layer in model.modules() for tensor in layer._parameters.values() if tensor is not None]

    def replacement(layer: nn.Module) -> nn.Module | None:
        # Layers derived from these may be used otherwise than by calling them.
        if type(layer) not in ADAPTED or layer is but or getattr(layer, "groups", 1) != 1:
            return None
        # weight_norm and pruning compute the weight anew at each use, in a hook; others change what goes in or out.
        weight = layer._parameters.get("weight")
        if layer._forward_pre_hooks or layer._forward_hooks or weight is None:
            raise _not_mergeable(names[id(layer)], "has hooks or a computed weight")
        own = _memory(weight)
        if sum(own.start < other.stop and other.start < own.stop for other in held) > 1:
            raise _not_mergeable(names[id(layer)], "shares its weight with another layer")
        return LowRank(layer, rank)  # type: ignore[arg-type]

    model.requires_grad_(requires_grad=False)
    with torch.random.fork_rng(devices=[]):
        # Not the seed itself: the model's own first layer may have been drawn from it, and would be drawn again.
        torch.default_generator.manual_seed(int.from_bytes(digest("low rank", b"", seed)[:7], "big"))
        return replace_layers(model, replacement)


def merged(model: nn.Module) -> nn.Module:
    """``model``, changed in place, with every pair added to its layer: as it was before `add_low_rank`, but trained.

    Raises:
        InputError: ``not-mergeable``, if a layer alone then computes something else than with its pair.
    """
    pairs = {name: layer for name, layer in model.named_modules() if isinstance(layer, LowRank)}
    with torch.no_grad():
        trained = {name: _tried(layer, layer.example()) for name, layer in pairs.items()}
        whole = replace_layers(model, lambda layer: layer.merged() if isinstance(layer, LowRank) else None)
        for name, (expected, rounding) in trained.items():
            found = pairs[name].frozen(pairs[name].example())
            if not torch.allclose(found, expected, rtol=0.0, atol=rounding, equal_nan=True):
                raise _not_mergeable(name, "computes something else once its pair is added to it")
    return whole


def _tried(layer: LowRank, inputs: Tensor) -> tuple[Tensor, float]:
    """What a layer gives with its pair, and by how much that may differ if the same is computed otherwise."""
    outputs = layer(inputs)
    # The layer and its pair may cancel out: what is rounded is as large as either.
    return outputs, _ROUNDING * max(float(outputs.abs().max()), float(layer.frozen(inputs).abs().max()))


def _memory(tensor: Tensor) -> range:
    """The addresses between a tensor's first number and its last: two parameters may be views of one tensor."""
    reach = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    return range(tensor.data_ptr(), tensor.data_ptr() + (reach + 1) * tensor.element_size())


def _not_mergeable(name: str, why: str) -> InputError:
    return InputError(
        "not-mergeable",
        f"The layer {name} {why}: with model.train = 'lora' the released model would not be the trained one.",
        culprit=name,
        remedy="Build the model with a plain layer in its place, or set model.train to 'last-layer' or 'all'.",
    )
