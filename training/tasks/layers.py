"""Layers of a model: which is the last, and others in their place.

This module knows how modules are nested. It knows nothing of what the layers compute.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from secagg.errors import InputError


def last_layer(model: nn.Module) -> tuple[str, nn.Module]:
    """The linear or convolutional layer that was registered last, and its name.

    Raises:
        InputError: ``no-last-layer``.
    """
    layers = [(name, layer) for name, layer in model.named_modules() if isinstance(layer, nn.Linear | nn.Conv2d)]
    if not layers:
        raise InputError(
            "no-last-layer",
            "The model has no linear or convolutional layer that could be trained by itself.",
            culprit=type(model).__name__,
            remedy="Set model.train = 'all' in the task, and freeze parameters where the model is built.",
        )
    return layers[-1]


def replace_layers(model: nn.Module, replacement: Callable[[nn.Module], nn.Module | None]) -> nn.Module:
    """``model``, changed in place, with other layers wherever ``replacement`` gives one.

    A layer that stands in several places is replaced by one layer in all of them.
    """
    new: dict[int, nn.Module | None] = {}
    # All of them are kept until the end: an id is of use only as long as its object lives.
    before = list(model.modules())
    for layer in before:
        new[id(layer)] = replacement(layer)
    for parent in before:
        # `named_children` has a layer once only, where its parent has it under several names.
        for name, child in list(parent._modules.items()):
            found = new[id(child)] if child is not None else None
            if found is not None:
                setattr(parent, name, found)
    return new[id(model)] or model
