"""Models that give a gradient for each sample (Opacus), which of them may be trained privately, and how they are left.

Knows layers and hooks. Knows nothing of records, clipping or noise.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from opacus import GradSampleModule
from opacus.validators import ModuleValidator
from torch import Tensor, nn

from secagg.errors import InputError


@contextmanager
def per_sample(model: nn.Module) -> Iterator[GradSampleModule]:
    """``model`` with a ``grad_sample`` of shape (rows, ...) on every trainable parameter after each backward pass.

    Without any of that again afterwards, whatever happens.

    Raises:
        InputError: ``not-private-model``, if a layer mixes patients (BatchNorm).
    """
    require_private(model)
    module = GradSampleModule(model)
    try:
        yield module
    finally:
        _unwrap(module, model)


def backward(loss: Tensor) -> None:
    """Compute every sample's gradient of ``loss``, a scalar: the mean over the samples."""
    with _first_layer_unwarned():
        loss.backward()  # type: ignore[no-untyped-call]


def plain_gradients(loss: Tensor, parameters: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """The gradients of ``loss``, a scalar, as without Opacus; zeros of what takes no part. Use `without_samples`."""
    with _first_layer_unwarned():
        return torch.autograd.grad(loss, parameters, materialize_grads=True)


def require_each_row(module: GradSampleModule, rows: int) -> None:
    """Refuse gradients after a backward pass that are not one for each row: clipped, a patient would weigh too much.

    Raises:
        InputError: ``not-private-model``, naming the parameter.
    """
    for name, parameter in module._module.named_parameters():
        if not parameter.requires_grad:
            continue
        found = parameter.grad_sample
        count = len(found) if isinstance(found, Tensor) else 0
        if count != rows:
            raise InputError(
                "not-private-model",
                f"The model cannot be trained with differential privacy: {name} has {count} gradients of {rows} rows.",
                culprit=name,
                remedy="The first dimension of every layer's input must be the rows, and every trainable parameter "
                "must be used.",
            )


@contextmanager
def without_samples(module: GradSampleModule) -> Iterator[None]:
    """Backward passes within add up plain gradients, as without Opacus."""
    module.disable_hooks()
    try:
        yield
    finally:
        module.enable_hooks()


def require_private(model: nn.Module) -> None:
    """Refuse a model whose gradients are not those of single patients; it is in training mode afterwards.

    Raises:
        InputError: ``not-private-model``.
    """
    model.train()
    faults = [str(fault) for fault in ModuleValidator.validate(model, strict=False)]
    # Opacus looks only at layers with parameters; these mix patients, or keep their statistics, without any.
    faults += [f"{layer} mixes patients." for layer in model.modules() if _mixes(layer)]
    if faults:
        raise InputError(
            "not-private-model",
            f"The model cannot be trained with differential privacy: {faults[0]}",
            culprit=type(model).__name__,
            remedy="Replace BatchNorm by GroupNorm: no layer may mix patients.",
        )


def _mixes(layer: nn.Module) -> bool:
    return isinstance(layer, nn.modules.batchnorm._BatchNorm) or getattr(layer, "track_running_stats", False)


@contextmanager
def _first_layer_unwarned() -> Iterator[None]:
    with warnings.catch_warnings():
        # torch warns of backward hooks on the first layer, whose inputs need no gradient; Opacus relies on them.
        warnings.filterwarnings("ignore", message="Full backward hook is firing")
        yield


def _unwrap(module: GradSampleModule, model: nn.Module) -> None:
    module.remove_hooks()
    for layer in model.modules():
        # Where training broke off, these still hold patients' records.
        _forget(layer, ("activations", "max_batch_len"))
    for parameter in model.parameters():
        parameter.grad = None
        _forget(parameter, ("grad_sample", "summed_grad", "_current_grad_sample", "_forward_counter"))


def _forget(holder: object, names: tuple[str, ...]) -> None:
    for name in names:
        if hasattr(holder, name):
            delattr(holder, name)
