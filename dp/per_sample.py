"""Models that give a gradient for each sample (Opacus), which of them may be trained privately, and how they are left.

Knows layers and hooks. Knows nothing of records, clipping or noise.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from opacus import GradSampleModule
from opacus.validators import ModuleValidator
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge

from secagg.errors import InputError


class PerSampleModule(GradSampleModule):  # type: ignore[misc]
    """Opacus' module with another way to the gradients of layers' outputs: what it makes of them is Opacus' own.

    Opacus has autograd work out the mean gradient of every parameter, which nobody needs, and picks up the outputs'
    gradients by hooks in passing. Here autograd is asked for those alone: faster, but all of them are held at once.
    """

    def add_hooks(self, **settings: object) -> None:
        """As Opacus does, but on the way forward alone."""
        self._forget()
        super().add_hooks(**settings)
        # Opacus adds two to each layer, the second on the way back.
        for handle in self.autograd_grad_sample_hooks[1::2]:
            handle.remove()

    def remove_hooks(self) -> None:
        """As Opacus does. Autograd's graph holds patients' records, where no pass back has followed."""
        super().remove_hooks()
        self._forget()

    def capture_activations_hook(self, module: nn.Module, forward_input: list[Tensor], output: object) -> None:
        """Keep what goes into a layer, as Opacus does, and where in autograd's graph its output is."""
        before = len(getattr(module, "activations", ()))
        super().capture_activations_hook(module, forward_input, output)
        # Whether the layer is trained just now is for Opacus to say.
        if len(getattr(module, "activations", ())) == before:
            return
        activations: list[list[Tensor]] = module.activations  # type: ignore[assignment]
        # Opacus reads images as if they lay in memory channel after channel: of others its gradients are wrong.
        activations[-1] = kept = [tensor.contiguous() for tensor in activations[-1]]
        if isinstance(output, Tensor) and output.requires_grad:
            # Not the output: what follows may change it in place, and autograd knows where it was before. Not of views.
            self._outputs.append((module, get_gradient_edge(output)))
            kept = [*kept, output.detach()] if output._is_view() else kept
        self._unchanged += [(tensor, tensor._version) for tensor in kept]

    def backward(self, loss: Tensor) -> None:
        """Compute every sample's gradient of ``loss``, a scalar: the mean over the samples.

        Raises:
            InputError: ``not-private-model``, if what goes into a layer is changed in place afterwards.
        """
        outputs, unchanged = self._outputs, self._unchanged
        self._forget()
        if any(tensor._version != version for tensor, version in unchanged):
            raise InputError(
                "not-private-model",
                "The model cannot be trained with differential privacy: what goes into a layer, or a view that comes "
                "out of one, is changed in place later on.",
                culprit=type(self._module).__name__,
                remedy="Build the model without inplace=True, and write y = y + x instead of y += x.",
            )
        if not outputs:
            return
        gradients = torch.autograd.grad(loss, [edge for _, edge in outputs], allow_unused=True)
        # Opacus takes what went into a layer from the end.
        for (layer, _), gradient in zip(reversed(outputs), reversed(gradients), strict=True):
            # None of what counts for nothing: `require_each_row` finds that.
            if gradient is not None:
                self.capture_backprops_hook(layer, (), (gradient,), self.loss_reduction, self.batch_first)

    def _forget(self) -> None:
        self._outputs: list[tuple[nn.Module, GradientEdge]] = []
        self._unchanged: list[tuple[Tensor, int]] = []


@contextmanager
def per_sample(model: nn.Module) -> Iterator[PerSampleModule]:
    """``model`` with a ``grad_sample`` of shape (rows, ...) on every trainable parameter after each backward pass.

    Without any of that again afterwards, whatever happens.

    Raises:
        InputError: ``not-private-model``, if a layer mixes patients (BatchNorm).
    """
    require_private(model)
    module = PerSampleModule(model)
    try:
        yield module
    finally:
        _unwrap(module, model)


def require_each_row(module: PerSampleModule, rows: int) -> None:
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
def without_samples(module: PerSampleModule) -> Iterator[None]:
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


def _unwrap(module: PerSampleModule, model: nn.Module) -> None:
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
