"""The models that tasks can name: logistic regression, a small perceptron, a small convolutional network.

This module knows layers and how a start is drawn from a seed. Every layer treats each record by itself (GroupNorm,
never BatchNorm) and keeps no buffers, because per-patient gradients and model digests need both. It knows no data.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from secagg.errors import InputError
from training.tasks.spec import ModelSpec

_GROUPS = 8


def build_table_model(spec: ModelSpec, inputs: int, classes: int) -> nn.Module:
    """A model from float32 (n, inputs) to logits (n, 1) for two classes, else (n, classes).

    Raises:
        InputError: ``bad-task`` for a model that is not made for tables, or without inputs.
    """
    if inputs < 1:
        message = "The task names no features, so its model has no inputs."
        raise InputError("bad-task", message, remedy="List data.features in the task.")
    match spec.name:
        case "logistic":
            return _seeded(spec.seed, lambda: nn.Linear(inputs, logit_count(classes)))
        case "mlp":
            return _seeded(spec.seed, lambda: _perceptron(inputs, spec.hidden, logit_count(classes)))
        case _:
            raise InputError("bad-task", f"The model {spec.name!r} does not take a table.", remedy="Use 'mlp'.")


def build_image_model(spec: ModelSpec, channels: int, size: int, classes: int) -> nn.Module:
    """A model from float32 (n, channels, size, size) to logits (n, 1) for two classes, else (n, classes).

    Raises:
        InputError: ``bad-task`` when the image is too small for that many convolutions.
    """
    outputs = logit_count(classes)
    inputs = channels * size * size
    match spec.name:
        case "logistic":
            return _seeded(spec.seed, lambda: nn.Sequential(nn.Flatten(), nn.Linear(inputs, outputs)))
        case "mlp":
            return _seeded(spec.seed, lambda: nn.Sequential(nn.Flatten(), _perceptron(inputs, spec.hidden, outputs)))
        case "cnn":
            if size >> len(spec.channels) < 1:
                message = f"Images of {size} pixels are too small for {len(spec.channels)} convolutions."
                raise InputError("bad-task", message, remedy="Use larger images or fewer channels.")
            return _seeded(spec.seed, lambda: _convolutional(channels, size, spec.channels, outputs))


def logit_count(classes: int) -> int:
    """One logit tells two classes apart; a second would only add parameters, and noise on each of them."""
    return 1 if classes == 2 else classes


def classification_loss(outputs: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy of logits (n, 1) or (n, classes) against int64 labels (n,); a scalar."""
    if outputs.shape[1] == 1:
        return functional.binary_cross_entropy_with_logits(outputs[:, 0], labels.to(outputs.dtype))
    return functional.cross_entropy(outputs, labels)


def class_scores(outputs: Tensor) -> Tensor:
    """Probabilities (n, classes) from logits (n, 1) or (n, classes)."""
    if outputs.shape[1] == 1:
        return torch.cat([torch.sigmoid(-outputs), torch.sigmoid(outputs)], dim=1)
    return torch.softmax(outputs, dim=1)


def _seeded(seed: int, build: Callable[[], nn.Module]) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        # The CPU generator alone: torch.manual_seed would also reseed every accelerator for the rest of the process.
        torch.default_generator.manual_seed(seed)
        return build()


def _perceptron(inputs: int, hidden: tuple[int, ...], outputs: int) -> nn.Module:
    layers: list[nn.Module] = []
    for width in hidden:
        layers += [nn.Linear(inputs, width), nn.ReLU()]
        inputs = width
    return nn.Sequential(*layers, nn.Linear(inputs, outputs))


def _convolutional(inputs: int, size: int, channels: tuple[int, ...], outputs: int) -> nn.Module:
    layers: list[nn.Module] = []
    for width in channels:
        norm = nn.GroupNorm(math.gcd(_GROUPS, width), width)
        layers += [nn.Conv2d(inputs, width, kernel_size=3, padding=1), norm, nn.ReLU(), nn.MaxPool2d(2)]
        inputs, size = width, size // 2
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(inputs * size * size, outputs))
