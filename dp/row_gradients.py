"""The gradients of a part of a sample: each row's, or a single patient's at once where their rows would not fit.

Knows a model with per-sample gradients and records grouped by patient. Knows nothing of clipping or noise.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dp.patients import PatientRecords, Rows
from dp.per_sample import PerSampleModule, require_each_row, without_samples

Loss = Callable[[Tensor, Tensor], Tensor]


def compute_gradients(
    module: PerSampleModule, loss: Loss, records: PatientRecords, rows: Rows, largest: int, device: torch.device
) -> npt.NDArray[np.int64]:
    """Set ``grad_sample`` of every trainable parameter, for ``rows``; at most ``largest`` rows' gradients are held.

    They are float32, or wider, whatever the model computes in.

    Args:
        rows: a part of a sample, as `dp.patients.parts` makes it: where it has more than ``largest`` rows, they are one
            patient's.

    Returns:
        The patient of each row of ``grad_sample``, int64: of ``rows``, or one, whose rows' mean it is already.

    Raises:
        InputError: ``not-private-model``, if there is not one gradient for each row.
    """
    patients = records.patients[rows]

    def mean_loss(some: Rows) -> Tensor:
        return loss(module(records.features[some].to(device)), records.labels[some].to(device))

    if len(rows) <= largest or (patients != patients[0]).any():
        module.backward(mean_loss(rows))
        require_each_row(module, len(rows))
        _widen(module)
        return patients
    # The mean of a patient's gradients is the gradient of the mean loss: no row's own is needed.
    with without_samples(module):
        for start in range(0, len(rows), largest):
            piece = rows[start : start + largest]
            (mean_loss(piece) * (len(piece) / len(rows))).backward()  # type: ignore[no-untyped-call]
    for parameter in module.parameters():
        if parameter.requires_grad:
            parameter.grad_sample, parameter.grad = parameter.grad[None], None
    return patients[:1]


def _widen(module: PerSampleModule) -> None:
    """Gradients in float32. In half precision neither their lengths nor steps of a grid could be told."""
    for parameter in module.parameters():
        if parameter.requires_grad:
            found = parameter.grad_sample
            parameter.grad_sample = found.to(torch.promote_types(found.dtype, torch.float32))
