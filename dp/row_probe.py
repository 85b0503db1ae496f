"""Whether a model and its loss have gradients of single rows, tried on a few rows before anything is spent.

Knows a model, a loss and rows. Knows nothing of patients, clipping or noise.

Opacus takes the first dimension of what goes into a layer for the rows. A model that folds another one into it, or a
layer whose input is not made of rows, has per-sample gradients that are nobody's, and clipping them bounds no patient.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from dp.per_sample import PerSampleModule, per_sample, require_each_row, without_samples
from dp.row_gradients import Loss
from secagg.errors import InputError, SecaggError

# Two numbers of rows: a dimension of the model's own may be as long as one of them by chance.
_COUNTS: Final = (2, 3)
# Of the longest gradient. Sums in another order differ by a millionth; rows that see each other, by most of it.
_TOLERANCE: Final = 1e-2


def require_row_gradients(model: nn.Module, loss: Loss, features: Tensor, labels: Tensor) -> None:
    """Refuse a model and a loss unless each row's gradient is the one that it has alone.

    Args:
        model: not used for anything afterwards: layers that draw at random, as Dropout, are left switched off.
        loss: the mean over rows of a loss of each row alone.
        features: (n, ...) float32, n > 0; ``labels``: (n,) int64. A few rows are used.

    Raises:
        InputError: ``not-private-model``, naming the parameter where it is of one; also for whatever the model, the
            loss or Opacus raises.
    """
    with torch.random.fork_rng(devices=[]):
        try:
            _probe(model, loss, features, labels)
        except SecaggError:
            raise
        # A task's own code may raise anything.
        except Exception as fault:
            raise InputError(
                "not-private-model",
                "The model cannot be trained with differential privacy: its gradients of single rows fail "
                f"({type(fault).__name__}: {fault}).",
                culprit=type(model).__name__,
                remedy="The first dimension of every layer's input must be the rows, also of one row alone.",
            ) from fault


def _probe(model: nn.Module, loss: Loss, features: Tensor, labels: Tensor) -> None:
    ordered = _of_all_labels(labels)
    with per_sample(model) as module:

        def gradients_of(count: int) -> Tensor:
            rows = ordered[torch.arange(count) % len(ordered)]
            module.zero_grad(set_to_none=True)
            module.backward(loss(module(features[rows]), labels[rows]))
            require_each_row(module, count)
            return rows

        gradients_of(_COUNTS[0])
        # Opacus' hooks work in training mode only, but no row is the same twice under Dropout.
        for layer in model.modules():
            layer.training = any(parameter.requires_grad for parameter in layer.parameters(recurse=False))
        for count in _COUNTS:
            rows = gradients_of(count)
        _require_own(module, loss, features[rows], labels[rows])


def _of_all_labels(labels: Tensor) -> Tensor:
    """All rows, those first that are the first of their label: a loss may mix only rows of different ones."""
    first = torch.from_numpy(np.unique(labels.numpy(), return_index=True)[1])
    return torch.cat([first, torch.from_numpy(np.setdiff1d(np.arange(len(labels)), first.numpy()))])


def _require_own(module: PerSampleModule, loss: Loss, features: Tensor, labels: Tensor) -> None:
    named = [(name, tensor) for name, tensor in module._module.named_parameters() if tensor.requires_grad]
    together = [torch.nan_to_num(tensor.grad_sample) for _, tensor in named]
    longest = max(float(gradients.flatten(1).norm(dim=1).max()) for gradients in together)
    # One row after the other: of a large model no more gradients are held than there must be.
    for row in range(len(labels)):
        with without_samples(module):
            mean = loss(module(features[row : row + 1]), labels[row : row + 1])
            alone = torch.autograd.grad(mean, [tensor for _, tensor in named], materialize_grads=True)
        for (name, _), gradients, own in zip(named, together, alone, strict=True):
            if float((gradients[row] - torch.nan_to_num(own)).norm()) > _TOLERANCE * longest:
                raise InputError(
                    "not-private-model",
                    "The model cannot be trained with differential privacy: with other rows beside it, a row has "
                    f"another gradient of {name} than alone.",
                    culprit=name,
                    remedy="No layer and no loss may mix rows; the loss is the mean over rows. What draws at random, "
                    "do so in training mode only.",
                )
