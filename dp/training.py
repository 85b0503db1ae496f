"""Differentially private SGD at one hospital (Abadi et al. 2016), with Opacus' per-sample gradients, for one round.

Knows a model, records grouped by patient, and the plan. Knows nothing of sums or other hospitals. Sampling and noise
come from the cryptographic generator, never from torch's; what a model draws itself comes from torch's, which has its
state of the cryptographic one in each step.

Guarantee: each step releases the sum of the sampled patients' gradients, each clipped to the plan's L2 norm, by the
Gaussian mechanism of `dp.gaussian`. All else (averaging, momentum, weight decay, FedProx) is post-processing, with the
number of patients public: neighbouring data sets have the same, and in one of them a patient's records are nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from opacus.optimizers import DPOptimizer
from torch import Tensor, nn

from dp.gaussian import GaussianMechanism
from dp.patients import PatientRecords, Rows, mean_over_patients, parts, rows_at_once
from dp.per_sample import PerSampleModule, per_sample, require_private
from dp.plan import PrivacyPlan
from dp.row_gradients import Loss, compute_gradients
from dp.row_size import row_size
from dp.sampling import poisson_sample
from dp.torch_draws import drawing_from
from secagg.errors import InputError

# Opacus', so that no gradient of zero is divided by.
_TINY: Final = 1e-6
# Numbers of gradients that are held in float64 at a time: what a cache holds.
_MOST_WIDENED: Final = 1 << 18
# Squares that are added up in float32: so few lose a length no more than 2^-15 of it, whatever order they are added in.
_BLOCK: Final = 1 << 10


@dataclass(frozen=True, kw_only=True)
class SgdSettings:
    """SGD's settings; ``prox_mu`` above 0 pulls towards the model that the round started from (FedProx)."""

    learning_rate: float
    momentum: float = 0.0
    weight_decay: float = 0.0
    prox_mu: float = 0.0


class SecureNoiseOptimizer(DPOptimizer):  # type: ignore[misc]
    """Opacus' optimizer, with sums in float64 and with noise from a cryptographic generator."""

    def __init__(self, optimizer: torch.optim.Optimizer, plan: PrivacyPlan, batch: float, noise: np.random.Generator):
        super().__init__(
            optimizer,
            noise_multiplier=plan.noise_multiplier,
            max_grad_norm=plan.clip_norm,
            expected_batch_size=batch,
        )
        self._noise = noise

    def clip_and_accumulate(self) -> None:
        """Clip each patient's gradient and add it to the sum so far.

        In float32 each addition to a sum of many would round it, differently with one patient more: of 100,000 in a
        step the sums with and without one were up to 4 % more than the clip norm apart.
        """
        gradients = [
            gradient.reshape(len(gradient), parameter.numel())
            for gradient, parameter in zip(self.grad_samples, self.params, strict=True)
        ]
        norms = torch.stack([_norms(gradient) for gradient in gradients]).norm(dim=0)
        factors = (self.max_grad_norm / (norms + _TINY)).clamp(max=1.0)
        for parameter, gradient in zip(self.params, gradients, strict=True):
            if parameter.summed_grad is None:
                parameter.summed_grad = _zeros(parameter.numel(), parameter.device)
            _add_weighted(parameter.summed_grad, gradient, factors)

    def add_noise(self) -> None:
        """Put the noisy sum of clipped gradients where SGD looks for a gradient."""
        mechanism = GaussianMechanism(
            noise_multiplier=self.noise_multiplier,
            clip_norm=self.max_grad_norm,
            coordinates=sum(parameter.numel() for parameter in self.params),
        )
        for parameter in self.params:
            noisy = mechanism.release(parameter.summed_grad, self._noise)
            parameter.grad = noisy.to(parameter).view_as(parameter)


def _norms(rows: Tensor) -> Tensor:
    """The L2 norm of each row, float64: of float32 norms of its blocks.

    In a float32 sum of the squares of a whole row, small ones are lost beside a large one: of millions the norm was
    0.2 % too short, and the patient weighed as much more than the clip norm. To widen whole rows costs a step half its
    time again.

    Args:
        rows: float32 (n, d).
    """
    whole = rows.shape[1] // _BLOCK
    blocks = rows[:, : whole * _BLOCK].view(len(rows), whole, _BLOCK)
    norms = torch.cat([blocks.norm(dim=2), rows[:, whole * _BLOCK :].norm(dim=1, keepdim=True)], dim=1)
    # In two steps: what changes device and type at once is converted where it comes from.
    of_rows: Tensor = norms.to(_with_float64(rows.device)).to(torch.float64).norm(dim=1)
    return of_rows


def _zeros(size: int, device: torch.device) -> Tensor:
    return torch.zeros(size, dtype=torch.float64, device=_with_float64(device))


def _with_float64(device: torch.device) -> torch.device:
    """The device itself, unless it is Apple's, which has no float64."""
    return torch.device("cpu") if device.type == "mps" else device


def _add_weighted(total: Tensor, rows: Tensor, weights: Tensor) -> None:
    """Add the rows, each times its weight, to ``total``, in float64; a part of the rows at a time.

    Args:
        total: float64 (d,).
        rows: float32 (n, d); ``weights``: (n,).
    """
    weights = weights.to(total)
    step = max(1, _MOST_WIDENED // max(1, len(total)))
    wide = torch.empty((min(step, len(rows)), len(total)), dtype=total.dtype, device=total.device)
    for start in range(0, len(rows), step):
        piece = rows[start : start + step]
        total.addmv_(wide[: len(piece)].copy_(piece.to(total.device)).T, weights[start : start + step])


def train_privately(
    model: nn.Module,
    records: PatientRecords,
    loss: Loss,
    plan: PrivacyPlan,
    settings: SgdSettings,
    generator: np.random.Generator,
    device: torch.device,
) -> None:
    """Take the plan's steps of one round on ``model``, in place; it ends on ``device``, without hooks.

    Args:
        loss: the mean over rows of a loss of each row alone. A loss that couples rows (Cox, contrastive) has no
            per-patient gradient, and no guarantee holds.
        generator: `dp.randomness.secure_generator`; draws batches, noise, and what the model draws of torch.

    Raises:
        InputError: ``not-private-model`` if a layer mixes patients (BatchNorm), ``training-diverged``.
    """
    require_private(model)
    model.to(device)
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    anchor = [parameter.detach().clone() for parameter in trainable]
    row = records.features[:1].to(device)
    most = rows_at_once(sum(parameter.numel() for parameter in trainable), row_size(model, row))
    with per_sample(model) as module:
        optimizer = SecureNoiseOptimizer(
            torch.optim.SGD(
                trainable,
                lr=settings.learning_rate,
                momentum=settings.momentum,
                weight_decay=settings.weight_decay,
            ),
            plan,
            plan.sampling_rate * records.count,
            generator,
        )
        optimizer.attach_step_hook(lambda _: _add_proximal_gradient(trainable, anchor, settings.prox_mu))
        for _ in range(plan.steps_per_round):
            sample = poisson_sample(generator, records.count, plan.sampling_rate)
            with drawing_from(generator, device):
                _step(module, optimizer, records, sample, loss, device, most)
    if not all(bool(torch.isfinite(parameter).all()) for parameter in trainable):
        raise InputError(
            "training-diverged",
            "Training diverged: a parameter is NaN or infinite.",
            remedy="Lower the learning rate or the clip norm, raise the sampling rate, or standardise the features.",
        )


def _step(
    module: PerSampleModule,
    optimizer: SecureNoiseOptimizer,
    records: PatientRecords,
    sample: Rows,
    loss: Loss,
    device: torch.device,
    largest_batch: int,
) -> None:
    rows_by_part = list(parts(records.patients, sample, largest_batch))
    optimizer.zero_grad(set_to_none=True)
    if not rows_by_part:
        for parameter in optimizer.params:
            parameter.grad_sample = torch.zeros((0, *parameter.shape), device=parameter.device)
        optimizer.step()
        return
    for number, rows in enumerate(rows_by_part, start=1):
        patients = compute_gradients(module, loss, records, rows, largest_batch, device)
        _average_over_patients(optimizer, patients)
        # Not before: a sum of finite numbers may be infinite.
        _drop_non_finite(optimizer)
        optimizer.signal_skip_step(do_skip=number < len(rows_by_part))
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)


def _drop_non_finite(optimizer: SecureNoiseOptimizer) -> None:
    """Take NaN and infinity for zero: clipping would let one patient's through, and the whole release would show it."""
    for parameter in optimizer.params:
        torch.nan_to_num_(parameter.grad_sample, nan=0.0, posinf=0.0, neginf=0.0)


def _average_over_patients(optimizer: SecureNoiseOptimizer, patients: npt.NDArray[np.int64]) -> None:
    """Replace each row's gradient by its patient's mean, so that Opacus clips patients and not rows."""
    for parameter in optimizer.params:
        parameter.grad_sample = mean_over_patients(parameter.grad_sample, patients)


def _add_proximal_gradient(parameters: list[nn.Parameter], anchor: list[Tensor], mu: float) -> None:
    if mu == 0:
        return
    with torch.no_grad():
        for parameter, start in zip(parameters, anchor, strict=True):
            if parameter.grad is not None:
                parameter.grad.add_(parameter - start, alpha=mu)
