"""Pre-trained parameters from a file that every hospital has.

This module knows a task's name and digest of such a file, and where it lies. It reads safetensors only: a file that can
hold nothing but numbers.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load as parse
from torch import Tensor, nn

from secagg.errors import InputError
from secagg.files import read_bounded
from training.tasks.layers import last_layer
from training.tasks.spec import ModelSpec

FOLDER: Final = "SECAGG_BACKBONES"
"""The environment variable that names the folder of such files at this hospital; the working folder without it."""

_LARGEST: Final = 1 << 32

Tensors = Mapping[str, Tensor]


def read_backbone(spec: ModelSpec) -> Tensors:
    """The tensors of the file that a task names; none where it names none.

    Raises:
        InputError: ``backbone-missing``, ``backbone-altered``, ``backbone-unusable``; as `secagg.files.read_bounded`.
    """
    if spec.backbone is None:
        return {}
    path = Path(os.environ.get(FOLDER, "")) / spec.backbone
    if not path.is_file():
        raise InputError(
            "backbone-missing",
            f"The task starts from pre-trained parameters, but there is no file {path}.",
            culprit=str(path),
            remedy=f"Put it there, or set {FOLDER} to the folder where it is.",
        )
    data = read_bounded(path, _LARGEST)
    found = hashlib.sha256(data).hexdigest()
    if found != spec.backbone_sha256:
        raise InputError(
            "backbone-altered",
            f"{path} is not the file that the task names: its SHA-256 is {found}, that of the task's "
            f"{spec.backbone_sha256}.",
            culprit=str(path),
            remedy="Get the file that the consortium agreed on, or correct backbone_sha256 in the task.",
        )
    try:
        return parse(data)
    except (SafetensorError, ValueError, KeyError) as error:
        raise _unusable(spec.backbone, f"is not a safetensors file: {error}") from error


def load_backbone(model: nn.Module, tensors: Tensors, name: str) -> None:
    """Set a model's parameters, in place, to those of a backbone.

    All are set but the last layer's where they are absent or of another shape: it is new then, because the backbone
    told other classes apart. Tensors that the model does not have are left out.

    Args:
        name: of the file, for messages.

    Raises:
        InputError: ``backbone-unusable`` when another parameter is not there, differs in shape, or has NaN or infinity
            where the model has a number.
    """
    head, _ = last_layer(model)
    parameters = dict(model.named_parameters())
    in_head = {parameter for parameter in parameters if parameter.startswith(f"{head}.") or not head}
    misfits = {parameter for parameter, tensor in parameters.items() if not _fits(tensors.get(parameter), tensor)}
    stray = min(misfits - in_head, default=None)
    if stray is not None:
        wanted, found = tuple(parameters[stray].shape), tensors.get(stray)
        is_there = "has none of that name" if found is None else f"has {found.dtype} {tuple(found.shape)}"
        raise _unusable(name, f"does not fit the model: {stray} is of shape {wanted}, the file {is_there}")
    new_head = in_head if misfits else set()
    with torch.no_grad():
        for parameter in sorted(parameters.keys() - new_head):
            # A mask may hold infinity on purpose, and does so from the start.
            before = parameters[parameter].isfinite()
            after = parameters[parameter].copy_(tensors[parameter]).isfinite()
            if (before & ~after).any():
                raise _unusable(name, f"holds NaN or infinity in {parameter}")


def _fits(found: Tensor | None, wanted: Tensor) -> bool:
    return found is not None and found.is_floating_point() and found.shape == wanted.shape


def _unusable(name: str, what: str) -> InputError:
    return InputError(
        "backbone-unusable",
        f"The backbone {name} {what}.",
        culprit=name,
        remedy="Save the state_dict of the same model with safetensors, and agree on that file's digest.",
    )
