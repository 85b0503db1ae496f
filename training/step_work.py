"""What one hospital computes in one step of distributed DP-SGD, from its own records: gradients and validation counts.

Knows the task, the charter and the grid. Keeps the model and its hooks from step to step: making them anew takes as
long as a step. Knows nothing of masks or messages.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from dp.gradients import ClippedGradients
from dp.patients import PatientRecords
from dp.per_sample import per_sample
from dp.randomness import secure_generator
from dp.row_size import row_size
from dp.sampling import poisson_sample
from dp.shares import NoiseShares
from dp.torch_draws import drawing_from
from secagg.charter import Charter
from training.evaluation import count_cells
from training.model_state import load
from training.records import Records
from training.task import Task

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class StepRecords:
    """One hospital's records, scaled."""

    train: Records
    validation: Records | None


class StepWork:
    """One hospital's records and the model that its steps are taken on.

    Args:
        generator: draws batches and what the model draws of torch, and rounds; cryptographic. Another is given only to
            compare with pooled training.

    Raises:
        InputError: ``not-private-model``.
    """

    def __init__(
        self,
        charter: Charter,
        task: Task,
        records: StepRecords,
        shares: NoiseShares,
        device: torch.device,
        generator: np.random.Generator | None = None,
    ) -> None:
        self._charter = charter
        self._task = task
        self._validation = records.validation
        train = records.train
        self._records = PatientRecords(torch.from_numpy(train.features), torch.from_numpy(train.labels), train.patients)
        self._device = device
        self._generator = generator if generator is not None else secure_generator()
        self._model = task.build_model().to(device)
        size = row_size(self._model, self._records.features[:1].to(device))
        self._hooks = ExitStack()
        module = self._hooks.enter_context(per_sample(self._model))
        self._gradients = ClippedGradients(module, task.loss, shares, device, size)

    def gradients(self, model: npt.NDArray[np.float32]) -> Integers:
        """The sum of a sample's clipped gradients at ``model``, int64 (d,), in steps of the grid."""
        load(self._model, model)
        sample = poisson_sample(self._generator, self._records.count, self._charter.privacy.sampling_rate)
        return self._gradients.sum(self._records, sample, self._generator)

    def cells(self, model: npt.NDArray[np.float32]) -> Integers:
        """The validation patients' counts at ``model``, without noise; zeros where there are none."""
        if self._validation is None:
            return np.zeros(self._charter.metrics.cells, np.int64)
        load(self._model, model)
        with drawing_from(self._generator, self._device):
            return count_cells(self._task, self._model, self._validation, self._device)

    def close(self) -> None:
        """Take the hooks off the model, and what they hold of patients."""
        self._hooks.close()
