"""How many numbers a model's layers hold of one row, which an image's size decides and not the number of parameters.

Knows layers. Measures one of the rows that they are to work on: a model may have rules that a made-up row breaks.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.utils.hooks import RemovableHandle


def row_size(model: nn.Module, row: Tensor) -> int:
    """How many numbers the row has, what the layers put out, and what Opacus unfolds a trained convolution's input to.

    What trained layers put out counts twice: `dp.per_sample` holds the gradients of it all at once.

    A row takes about as many while its gradient is computed, and fewer for its score. Of functions that are no layers
    nothing is counted.

    Args:
        model: left as it is.
        row: (1, ...) float32, on the model's device; left as it is.
    """
    counted = row.numel()

    def count(layer: nn.Module, _inputs: object, output: object) -> None:
        nonlocal counted
        trained = any(parameter.requires_grad for parameter in layer.parameters())
        counted += _numbers(output) * (2 if trained else 1)
        if isinstance(layer, _ConvNd) and layer.weight.requires_grad and isinstance(output, Tensor):
            places = output.numel() // layer.out_channels
            counted += places * layer.groups * layer.weight[0].numel()

    was_training = model.training
    hooks: list[RemovableHandle] = [
        layer.register_forward_hook(count) for layer in model.modules() if not any(layer.children())
    ]
    model.eval()
    try:
        # Not inference mode: what a model keeps of its first row could take no part in training.
        with torch.no_grad():
            # A copy: a model may change what it is given, and this row is one of a patient's.
            model(row.clone())
    finally:
        model.train(was_training)
        for hook in hooks:
            hook.remove()
    return counted


def _numbers(output: object) -> int:
    if isinstance(output, Tensor):
        return output.numel()
    if isinstance(output, Mapping):
        return sum(map(_numbers, output.values()))
    return sum(map(_numbers, output)) if isinstance(output, tuple | list) else 0
