"""Whether a model and its loss have gradients of single rows, tried on a few rows before anything is spent.

Knows a model, a loss and rows. Knows nothing of patients, clipping or noise.

Opacus takes the first dimension of what goes into a layer for the rows. A model that folds another one into it, or a
layer whose input is not made of rows, has per-sample gradients that are nobody's, and clipping them bounds no patient.

Rows are compared as they are trained on, in training mode, twice. Beside other rows a row must have the gradient that
it has beside copies of itself: both batches have one shape, so that from one state a model draws the same for both,
and float32 rounds alike. And it must have the gradient that it has alone, by plain autograd: that shows what Opacus
makes of it, and what depends on how many rows there are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from dp.per_sample import PerSampleModule, per_sample, require_each_row, without_samples
from dp.row_gradients import Loss
from secagg.errors import InputError, SecaggError

# Two numbers of rows: a dimension of the model's own may be as long as one of them by chance.
_COUNTS: Final = (2, 3)
# Of the longest gradient. Batches of another shape round otherwise: float32 by a millionth, half precision by a few
# thousandths. So do batches of copies, where a model cuts a batch to its longest row.
_TOLERANCE: Final = 1e-2
_TOLERANCE_BESIDE_COPIES: Final = 1e-4
_HALF: Final = frozenset({torch.float16, torch.bfloat16})
# Each row once; of a model that mixes rows by chance, as MixUp does, one batch may show nothing.
_TRIES: Final = 3
_TRIES_WHERE_DRAWN: Final = 9


def require_row_gradients(model: nn.Module, loss: Loss, features: Tensor, labels: Tensor) -> None:
    """Refuse a model and a loss unless each row's gradient is its own, whatever other rows are in the batch.

    Of a model that draws at random in training, but for torch's own dropout, what depends on the number of rows alone
    is looked for outside of training only.

    Args:
        model: not used for anything afterwards: layers that draw at random, as Dropout, are left switched off.
        loss: the mean over rows of a loss of each row alone.
        features: (n, ...) float32, n > 0; ``labels``: (n,) int64. A few rows are used.

    Raises:
        InputError: ``not-private-model``, naming the parameter where it is of one; also for whatever the model, the
            loss or Opacus raises, which is its cause.
    """
    with torch.random.fork_rng(devices=[]):
        try:
            _probe(model, loss, features, labels)
        except SecaggError:
            raise
        # A task's own code may raise anything.
        except Exception as fault:
            # Its type alone: its words may tell of the rows.
            raise InputError(
                "not-private-model",
                "The model cannot be trained with differential privacy: its gradients of single rows fail "
                f"({type(fault).__name__}).",
                culprit=type(model).__name__,
                remedy="The first dimension of every layer's input must be the rows, also of one row alone.",
            ) from fault


@dataclass(frozen=True, eq=False)
class _Trial:
    """What is tried: a model, a loss and rows, of which batches are made by their numbers."""

    module: PerSampleModule
    loss: Loss
    features: Tensor
    labels: Tensor

    @property
    def trained(self) -> list[tuple[str, nn.Parameter]]:
        """The trainable parameters with their names."""
        return [(name, tensor) for name, tensor in self.module._module.named_parameters() if tensor.requires_grad]

    def mean(self, rows: list[int]) -> Tensor:
        """The loss of a batch of those rows."""
        mean: Tensor = self.loss(self.module(self.features[rows]), self.labels[rows])
        return mean

    def compute(self, rows: list[int]) -> None:
        """Set ``grad_sample`` of every trainable parameter, (rows, ...)."""
        self.module.zero_grad(set_to_none=True)
        self.module.backward(self.mean(rows))
        require_each_row(self.module, len(rows))


def _probe(model: nn.Module, loss: Loss, features: Tensor, labels: Tensor) -> None:
    ordered = _of_all_labels(labels)
    few, many = ([int(ordered[row % len(ordered)]) for row in range(count)] for count in _COUNTS)
    with per_sample(model) as module:
        trial = _Trial(module, loss, features, labels)
        beside = _TOLERANCE if _is_in_half_precision(trial, few) else _TOLERANCE_BESIDE_COPIES
        # That draws for each row by itself, but how much may be the rows' own, as where they are sequences.
        _switch_off(model, _is_dropout)
        drawn = _draws(trial, few)
        _require_same_beside_copies(trial, many, _TRIES_WHERE_DRAWN if drawn else _TRIES, beside)
        if drawn:
            # No batch of another length has the same draws. Opacus' hooks work in training mode only.
            _switch_off(model, _has_no_trained_parameters)
        # Also in the other order: Opacus takes sequences in a pack for rows that are sorted by length.
        for rows in (many, many[::-1]):
            _require_same_alone(trial, rows)


def _of_all_labels(labels: Tensor) -> Tensor:
    """All rows, those first that are the first of their label: a loss may mix only rows of different ones."""
    first = torch.from_numpy(np.unique(labels.numpy(), return_index=True)[1])
    return torch.cat([first, torch.from_numpy(np.setdiff1d(np.arange(len(labels)), first.numpy()))])


def _switch_off(model: nn.Module, chosen: Callable[[nn.Module], bool]) -> None:
    for layer in filter(chosen, model.modules()):
        layer.training = False


def _is_dropout(layer: nn.Module) -> bool:
    # Not one that was made of it, which may do anything.
    return type(layer).__module__ == nn.modules.dropout.__name__


def _has_no_trained_parameters(layer: nn.Module) -> bool:
    return not any(parameter.requires_grad for parameter in layer.parameters(recurse=False))


def _draws(trial: _Trial, rows: list[int]) -> bool:
    before = torch.get_rng_state()
    trial.compute(rows)
    return not torch.equal(before, torch.get_rng_state())


def _is_in_half_precision(trial: _Trial, rows: list[int]) -> bool:
    """Whether what comes out of any layer is."""
    found: set[object] = set()
    hooks = [
        layer.register_forward_hook(lambda _layer, _given, out: found.add(getattr(out, "dtype", None)))
        for layer in trial.module._module.modules()
    ]
    trial.compute(rows)
    for hook in hooks:
        hook.remove()
    return not found.isdisjoint(_HALF)


def _require_same_beside_copies(trial: _Trial, rows: list[int], tries: int, tolerance: float) -> None:
    for number in range(tries):
        place = number % len(rows)
        torch.default_generator.manual_seed(number)
        trial.compute(rows)
        longest = _longest(trial)
        own = [torch.nan_to_num(tensor.grad_sample[place]) for _, tensor in trial.trained]  # type: ignore[attr-defined]
        torch.default_generator.manual_seed(number)
        trial.compute([rows[place]] * len(rows))
        _require_near(trial, place, own, tolerance * longest, "beside copies of itself")


def _require_same_alone(trial: _Trial, rows: list[int]) -> None:
    trial.compute(rows)
    longest = _longest(trial)
    # One row after the other: of a large model no more gradients are held than there must be.
    for place, row in enumerate(rows):
        with without_samples(trial.module):
            parameters = [tensor for _, tensor in trial.trained]
            own = torch.autograd.grad(trial.mean([row]), parameters, materialize_grads=True)
        _require_near(trial, place, [torch.nan_to_num(one) for one in own], _TOLERANCE * longest, "alone")


def _longest(trial: _Trial) -> float:
    """The length of the longest gradient that a row has of a parameter."""
    gradients = (torch.nan_to_num(tensor.grad_sample).flatten(1) for _, tensor in trial.trained)  # type: ignore[attr-defined]
    return max(float(one.norm(dim=1).max()) for one in gradients)


def _require_near(trial: _Trial, place: int, own: list[Tensor], tolerance: float, where: str) -> None:
    """Refuse unless the row at ``place`` has, to within ``tolerance``, the gradients ``own``, one of each parameter."""
    for (name, tensor), other in zip(trial.trained, own, strict=True):
        found = torch.nan_to_num(tensor.grad_sample[place])  # type: ignore[attr-defined]
        if float((found - other).norm()) > tolerance:
            raise InputError(
                "not-private-model",
                "The model cannot be trained with differential privacy: with other rows beside it, a row has another "
                f"gradient of {name} than {where}.",
                culprit=name,
                remedy="No layer and no loss may mix rows; the loss is the mean over rows. What draws at random, do so "
                "in training mode only, from torch's default generators, as many numbers whatever the rows hold: where "
                "these are cut to the longest, pad them to one length. Keep nothing from one pass to the next.",
            )
