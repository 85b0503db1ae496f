"""BatchNorm taken out of models: every record is normalised by itself, or by statistics that nobody's record changes.

This module knows layers. BatchNorm has no place in a model that hospitals train together, private or not: it scales one
patient's record by those of others, and keeps running means that are no parameters and cannot be summed.
"""

from __future__ import annotations

import math
from collections.abc import Set

import torch
from opacus.validators import ModuleValidator
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from training.tasks.layers import replace_layers


class FixedNorm(nn.Module):
    """What BatchNorm computes outside training: a scale and a shift of each channel, from frozen statistics."""

    weight: nn.Parameter | None
    bias: nn.Parameter | None
    running_mean: nn.Parameter
    running_var: nn.Parameter

    def __init__(self, layer: _BatchNorm) -> None:
        super().__init__()
        self.eps = layer.eps
        width = layer.num_features
        for name, start in (("weight", 1.0), ("bias", 0.0), ("running_mean", 0.0), ("running_var", 1.0)):
            if getattr(layer, name) is not None:
                self.register_parameter(name, nn.Parameter(torch.full((width,), start), requires_grad=False))
            else:
                self.register_parameter(name, None)

    def forward(self, inputs: Tensor) -> Tensor:
        """Float32 (n, channels, ...) to the same shape."""
        return nn.functional.batch_norm(
            inputs, self.running_mean, self.running_var, self.weight, self.bias, training=False, eps=self.eps
        )


def fix_norms(model: nn.Module, known: Set[str]) -> tuple[nn.Module, int]:
    """``model``, changed in place, with a `FixedNorm` for each BatchNorm whose running statistics are in ``known``.

    Args:
        known: names of tensors of a backbone.

    Returns:
        The model, and how many layers were replaced. The new ones are at their start: load the backbone afterwards.
    """
    names = {id(layer): name for name, layer in model.named_modules()}
    count = 0

    def replacement(layer: nn.Module) -> nn.Module | None:
        nonlocal count
        name = names[id(layer)]
        if not isinstance(layer, _BatchNorm) or not {f"{name}.running_mean", f"{name}.running_var"} <= known:
            return None
        if layer.running_mean is None:
            return None
        count += 1
        return FixedNorm(layer)

    return replace_layers(model, replacement), count


def group_norms(model: nn.Module) -> tuple[nn.Module, int]:
    """``model``, changed in place, with GroupNorm for each BatchNorm that Opacus' validator can replace.

    The new layer starts with the weight and bias of the old one. What cannot be replaced stays, and is refused by
    whoever needs it away.

    Returns:
        The model, and how many layers were replaced.
    """
    count = 0

    def replacement(layer: nn.Module) -> nn.Module | None:
        nonlocal count
        new = _group_norm(layer)
        count += new is not None
        return new

    return replace_layers(model, replacement), count


def _group_norm(layer: nn.Module) -> nn.Module | None:
    # The validator's own fix of one layer. `ModuleValidator.fix` passes over those that are frozen or have no
    # parameters, and replaces recurrent and attention layers too.
    fix = ModuleValidator.FIXERS.get(type(layer))
    if not isinstance(layer, _BatchNorm) or fix is None:
        return None
    groups = _groups(layer)
    if groups == 0:
        return None
    new: nn.GroupNorm = fix(layer, num_groups=groups)
    with torch.no_grad():
        for parameter, old in ((new.weight, layer.weight), (new.bias, layer.bias)):
            if old is not None:
                parameter.copy_(old)
                parameter.requires_grad_(old.requires_grad)
    return new


def _groups(layer: _BatchNorm) -> int:
    """How many; 0 where no number would do. A group of one number is always normalised to zero.

    BatchNorm1d takes vectors, whose channels are single numbers: one group. In an image a channel is many numbers,
    until it has been pooled: the 32 groups of Wu and He (2018) as far as they divide, but two channels in each.
    """
    channels = layer.num_features
    if isinstance(layer, nn.BatchNorm1d):
        return int(channels > 1)
    groups = math.gcd(32, channels)
    return groups if groups < channels else channels // 2 or channels
