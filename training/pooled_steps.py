"""DP-SGD on records in one place, by a curator whom all would have to trust: what `distributed` is compared with.

Knows the charter's steps and how much noise one curator needs. Only somebody who has everybody's records can do this.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from dp.accounting import noise_multiplier_for
from dp.gaussian import gaussian
from dp.randomness import secure_generator
from dp.sampling import poisson_sample
from dp.torch_draws import drawing_from
from secagg.charter import Charter
from training.model_state import load
from training.noise import noise_shares
from training.one_place import train_in_one_place
from training.records import Records
from training.step_work import StepRecords, StepWork
from training.task import Task

Vector = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class PooledSteps:
    """The charter's steps on ``records``.

    Attributes:
        batch: what sums of gradients are divided by.
        sums: how many steps are taken; noise and schedules are those of all the charter's rounds.
    """

    charter: Charter
    task: Task
    records: Records
    batch: float
    device: torch.device
    sums: int

    def privately(self) -> nn.Module:
        """With the noise that the charter's budget takes of one curator: Gaussian, on the sum of clipped gradients."""
        privacy, rounds = self.charter.privacy, self.charter.training.rounds
        noise = noise_multiplier_for(privacy.budget, privacy.delta, privacy.sampling_rate, rounds)
        # The grid that a ring would have room for does not matter here: nothing is summed in it.
        shares = replace(noise_shares(self.charter), field_bits=48)
        generator = secure_generator()
        work = StepWork(self.charter, self.task, StepRecords(self.records, None), shares, self.device)

        def update(model: npt.NDArray[np.float32]) -> Vector:
            total = work.gradients(model)
            # In whole steps, as the sum is.
            total += np.rint(gaussian(generator, len(total), noise * shares.steps_per_clip)).astype(np.int64)
            return -total / (shares.scale * self.batch)

        try:
            return train_in_one_place(self.task, self.charter.training, self.sums, update)
        finally:
            work.close()

    def openly(self, generator: np.random.Generator) -> nn.Module:
        """Without noise or clipping, on samples of the same size. All that is drawn follows from the generator."""
        module = self.task.build_model().to(self.device).train()
        features, labels = torch.from_numpy(self.records.features), torch.from_numpy(self.records.labels)

        def update(model: npt.NDArray[np.float32]) -> Vector:
            load(module, model)
            patients = poisson_sample(generator, self.records.patient_count, self.charter.privacy.sampling_rate)
            rows = self.records.rows_of(patients)
            module.zero_grad()
            if not len(rows):
                return np.zeros(len(model))
            loss = self.task.loss(module(features[rows].to(self.device)), labels[rows].to(self.device))
            loss.backward()  # type: ignore[no-untyped-call]
            return -_gradient(module) * (len(patients) / self.batch)

        with drawing_from(generator.spawn(1)[0], self.device):
            return train_in_one_place(self.task, self.charter.training, self.sums, update)


def _gradient(module: nn.Module) -> Vector:
    gradients = [tensor.grad for _, tensor in sorted(module.named_parameters()) if tensor.grad is not None]
    return np.concatenate([gradient.cpu().numpy().reshape(-1) for gradient in gradients]).astype(np.float64)
