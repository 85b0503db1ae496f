"""A model as one vector, and the digest that names it.

This module knows the order of a model's parameters (sorted by name). It knows nothing of training or of files. Only
trainable parameters are shared; frozen ones are the same everywhere, which the digest says too. A model with buffers is
refused.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn.parameter import is_lazy

from secagg.errors import InputError
from secagg.labels import digest, label

_NO_BUFFERS: Final = (
    "Use GroupNorm, not BatchNorm; make a constant nn.Parameter(..., requires_grad=False) in place of a buffer."
)

FloatArray = npt.NDArray[np.float32] | npt.NDArray[np.float64]


@dataclass(frozen=True)
class TensorShape:
    """One parameter: its name and shape."""

    name: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class ModelLayout:
    """Where each trainable parameter stands in a model's vector: one after another, sorted by name.

    Attributes:
        frozen: SHA-256 of the parameters that are not trained; empty where all are.
    """

    tensors: tuple[TensorShape, ...]
    frozen: bytes = b""

    @classmethod
    def of(cls, module: nn.Module) -> ModelLayout:
        """The layout of a model. Parameters that don't require a gradient are in its digest only.

        Raises:
            InputError: ``model-has-buffers``, ``model-not-float32``, ``model-unshaped`` or
                ``model-without-parameters``.
        """
        return replace(_layout_of(_parameters(module)), frozen=_frozen_digest(module))

    @property
    def size(self) -> int:
        """d, the length of the vector."""
        return sum(tensor.size for tensor in self.tensors)

    def to_tensors(self, vector: npt.NDArray[np.float32]) -> Mapping[str, npt.NDArray[np.float32]]:
        """Cut a float32 (d,) vector into named tensors, copied.

        Raises:
            InputError: ``model-shape``.
        """
        self.require_length(vector)
        tensors: dict[str, npt.NDArray[np.float32]] = {}
        start = 0
        for tensor in self.tensors:
            tensors[tensor.name] = vector[start : start + tensor.size].reshape(tensor.shape).copy()
            start += tensor.size
        return tensors

    def to_vector(self, tensors: Mapping[str, FloatArray]) -> npt.NDArray[np.float32]:
        """Join named tensors into a float32 (d,) vector.

        Raises:
            InputError: ``model-shape`` or ``model-not-finite``, naming the tensor.
        """
        strays = set(tensors) ^ {tensor.name for tensor in self.tensors}
        if strays:
            message = f"The model's tensors differ from the task's: {', '.join(sorted(strays))}."
            raise InputError("model-shape", message, culprit=min(strays), remedy="Use a model of the same task.")
        for tensor in self.tensors:
            found = tensors[tensor.name]
            if found.shape != tensor.shape or found.dtype != np.float32:
                message = f"Tensor {tensor.name} is {found.dtype} {found.shape}; float32 {tensor.shape} is wanted."
                raise InputError("model-shape", message, culprit=tensor.name, remedy="Use a model of the same task.")
            _require_finite(tensor.name, found)
        pieces = [np.asarray(tensors[tensor.name], dtype=np.float32).reshape(-1) for tensor in self.tensors]
        return np.concatenate(pieces)

    def require_length(self, vector: npt.NDArray[np.float32]) -> None:
        """Refuse what is not a float32 (d,) vector.

        Raises:
            InputError: ``model-shape``.
        """
        if vector.shape != (self.size,) or vector.dtype != np.float32:
            message = f"A model of {self.size} float32 numbers is wanted; this is {vector.dtype} {vector.shape}."
            raise InputError("model-shape", message, remedy="Use a model of the same task.")


def flatten(module: nn.Module) -> npt.NDArray[np.float32]:
    """A copy of a model's trainable parameters as float32 (d,), in the order of `ModelLayout`.

    Raises:
        InputError: as `ModelLayout.of`.
    """
    pieces = [tensor.detach().cpu().numpy().reshape(-1) for _, tensor in _parameters(module)]
    return np.concatenate(pieces).astype(np.float32)


def change_since(before: npt.NDArray[np.float32], module: nn.Module) -> npt.NDArray[np.float64]:
    """New minus old parameters, float64 (d,), of a module that was trained from ``before``, float32 (d,).

    The module is moved to the CPU.
    """
    return flatten(module.cpu()).astype(np.float64) - before.astype(np.float64)


def load(module: nn.Module, vector: npt.NDArray[np.float32]) -> None:
    """Set a model's trainable parameters, in place, from float32 (d,).

    Raises:
        InputError: ``model-shape`` or ``model-not-finite``.
    """
    parameters = _parameters(module)
    layout = _layout_of(parameters)
    layout.require_length(vector)
    # All at once: a step of distributed training takes milliseconds.
    if not np.isfinite(vector).all():
        for name, values in layout.to_tensors(vector).items():
            _require_finite(name, values)
    pieces = torch.split(torch.from_numpy(vector.copy()), [tensor.size for tensor in layout.tensors])
    with torch.no_grad():
        for (_, parameter), piece in zip(parameters, pieces, strict=True):
            parameter.copy_(piece.view_as(parameter))


def model_digest(layout: ModelLayout, vector: npt.NDArray[np.float32]) -> bytes:
    """SHA-256 of a model: names and shapes of its tensors, then the float32 (d,) vector, little-endian.

    Where a part is frozen, the digest of that part too, under another label.
    """
    shapes = [f"{tensor.name} {'x'.join(map(str, tensor.shape))}" for tensor in layout.tensors]
    data = vector.astype("<f4").tobytes()
    return digest("model on frozen", data, layout.frozen, *shapes) if layout.frozen else digest("model", data, *shapes)


def _layout_of(parameters: Sequence[tuple[str, nn.Parameter]]) -> ModelLayout:
    return ModelLayout(tuple(TensorShape(name, tuple(tensor.shape)) for name, tensor in parameters))


def _frozen_digest(module: nn.Module) -> bytes:
    frozen = sorted((name, tensor) for name, tensor in module.named_parameters() if not tensor.requires_grad)
    if not frozen:
        return b""
    hasher = hashlib.sha256()
    for name, tensor in frozen:
        hasher.update(label("frozen", name, str(tensor.dtype), *tensor.shape))
        hasher.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return hasher.digest()


def _parameters(module: nn.Module) -> list[tuple[str, nn.Parameter]]:
    buffers = [name for name, _ in module.named_buffers()]
    if buffers:
        message = f"The model keeps state that is not a parameter: {', '.join(buffers)}."
        raise InputError("model-has-buffers", message, culprit=buffers[0], remedy=_NO_BUFFERS)
    trainable = sorted((name, tensor) for name, tensor in module.named_parameters() if tensor.requires_grad)
    if not trainable:
        message = "The model has no trainable parameters."
        raise InputError("model-without-parameters", message, remedy="Check requires_grad.")
    for name, tensor in trainable:
        if is_lazy(tensor):
            message = f"Parameter {name} has no shape before the model has seen a row."
            remedy = "Give the layer its number of inputs: nn.Linear, not nn.LazyLinear."
            raise InputError("model-unshaped", message, culprit=name, remedy=remedy)
        if tensor.dtype != torch.float32:
            message = f"Parameter {name} is {tensor.dtype}."
            raise InputError("model-not-float32", message, culprit=name, remedy="Build the model in float32.")
    return trainable


def _require_finite(name: str, values: FloatArray) -> None:
    if not np.isfinite(values).all():
        message = f"Tensor {name} holds NaN or infinity."
        raise InputError(
            "model-not-finite", message, culprit=name, remedy="Training diverged: lower the learning rate."
        )
