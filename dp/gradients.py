"""One hospital's part of one step of distributed DP-SGD: its sampled patients' gradients, clipped, on the integer grid.

Knows a model, records grouped by patient, and the grid. Adds no noise and knows nothing of other hospitals: the sum of
all hospitals' parts, with all their noise, is a step of DP-SGD on the pooled records (Abadi et al. 2016).

Guarantee: one patient more or fewer changes what is given back by a vector of integers of L2 norm at most
`NoiseShares.sensitivity`: each patient's gradient is clipped, then rounded by itself, and the norm is checked after
that. The clamp of the sum is no expansion: it adds nothing to that.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from dp.patients import PatientRecords, Rows, mean_over_patients, parts, rows_at_once
from dp.per_sample import PerSampleModule
from dp.rounding import round_rows
from dp.row_gradients import Loss, compute_gradients
from dp.shares import NoiseShares
from dp.torch_draws import drawing_from

Integers = npt.NDArray[np.int64]

# Numbers rounded at a time: they are held three times, in 64 bits.
_MOST_ROUNDED: Final = 1 << 24


class ClippedGradients:
    """Sums of clipped gradients of one model.

    Args:
        module: with per-sample gradients: `dp.per_sample.per_sample`.
        loss: the mean over rows of a loss of each row alone.
        row_size: `dp.row_size.row_size` of the model.
    """

    def __init__(
        self, module: PerSampleModule, loss: Loss, shares: NoiseShares, device: torch.device, row_size: int
    ) -> None:
        self._module = module
        self._loss = loss
        self._shares = shares
        self._device = device
        self._parameters = _in_order(module._module)
        self._rows_at_once = rows_at_once(shares.dimension, row_size)

    def sum(self, records: PatientRecords, sample: Rows, generator: np.random.Generator) -> Integers:
        """The sum over the sampled patients, int64 (d,), in steps of the grid; parameters sorted by name.

        Args:
            sample: patients, int64.
            generator: draws what the model draws of torch, and rounds; cryptographic.
        """
        total = np.zeros(self._shares.dimension, np.int64)
        for rows in parts(records.patients, sample, self._rows_at_once):
            with drawing_from(generator, self._device):
                gradients = self._clipped(records, rows)
            step = max(1, _MOST_ROUNDED // self._shares.dimension)
            for start in range(0, len(gradients), step):
                piece = gradients[start : start + step].cpu().numpy()
                rounded = round_rows(piece, self._shares.steps_per_clip, generator)
                total += rounded.sum(axis=0).astype(np.int64)
        most = self._shares.largest_signal
        return np.clip(total, -most, most, out=total)

    def _clipped(self, records: PatientRecords, rows: Rows) -> Tensor:
        """The patients' gradients, (patients, d), in steps of the grid, each no longer than the clip norm."""
        patients = compute_gradients(self._module, self._loss, records, rows, self._rows_at_once, self._device)
        flat = torch.cat([parameter.grad_sample.flatten(start_dim=1) for parameter in self._parameters], dim=1)  # type: ignore[attr-defined]
        # Not by Opacus' zero_grad, which looks through all modules: a step here takes milliseconds.
        for parameter in self._parameters:
            parameter.grad_sample = None  # type: ignore[attr-defined]
        gradients = mean_over_patients(flat, patients)
        # Clipping would let one patient's NaN or infinity through, and the whole release would show it. Not before the
        # mean: a sum of finite numbers may be infinite.
        torch.nan_to_num_(gradients, nan=0.0, posinf=0.0, neginf=0.0)
        # In float32 the square of a large gradient is infinite, and the patient counts as nothing: Apple's devices have
        # no more.
        precision = torch.float32 if self._device.type == "mps" else torch.float64
        norms = torch.linalg.vector_norm(gradients, dim=1, dtype=precision)
        factors = self._shares.scale * (self._shares.clip_norm / norms).clamp(max=1.0)
        return gradients.mul_(factors.to(gradients.dtype)[:, None])


def _in_order(model: nn.Module) -> list[nn.Parameter]:
    return [tensor for _, tensor in sorted(model.named_parameters()) if tensor.requires_grad]
