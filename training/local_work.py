"""What one hospital computes in one round, from its own records: an update and validation counts.

Knows the task, the charter's training section and the privacy plan. Knows nothing of masks or messages.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from dp.gaussian import noisy_counts
from dp.patients import PatientRecords
from dp.torch_draws import drawing_from
from dp.training import SgdSettings, train_privately
from secagg.charter import Charter
from training.evaluation import count_cells
from training.local_sgd import train_locally
from training.model_state import change_since, load
from training.privacy_plan import privacy_plan
from training.progress import counts_are_due
from training.records import Records
from training.task import Task


@dataclass(frozen=True, eq=False)
class Contribution:
    """What goes into a hospital's vector: new minus old parameters, float64 (d,), and counts, int64 (cells,)."""

    update: npt.NDArray[np.float64]
    cells: npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class LocalWork:
    """One hospital's records and the way it trains on them.

    Attributes:
        generator: draws batches, noise and what the model draws of torch; cryptographic wherever there is noise.
    """

    charter: Charter
    task: Task
    records: Records
    validation: Records | None
    device: torch.device
    generator: np.random.Generator

    def contribute(self, model: npt.NDArray[np.float32], step: int) -> Contribution:
        """Train from ``model`` for the charter's local steps; count the validation patients with ``model`` itself.

        Args:
            step: which sum this is for, from 1; not with each are counts due.
        """
        module = self.task.build_model()
        load(module, model)
        cells = self._cells(module, step)
        self.train(module)
        return Contribution(change_since(model, module), cells)

    def train(self, module: nn.Module) -> None:
        """Take the charter's local steps of one round on ``module``, in place, as its privacy mode says."""
        match self.charter.privacy.mode:
            case "none":
                train_locally(module, self.records, self.task.loss, self.charter.training, self.generator, self.device)
            case "local":
                training = self.charter.training
                features, labels = torch.from_numpy(self.records.features), torch.from_numpy(self.records.labels)
                train_privately(
                    module,
                    PatientRecords(features, labels, self.records.patients),
                    self.task.loss,
                    privacy_plan(self.charter),
                    SgdSettings(
                        learning_rate=training.learning_rate,
                        momentum=training.momentum,
                        weight_decay=training.weight_decay,
                        prox_mu=training.prox_mu,
                    ),
                    self.generator,
                    self.device,
                )

    def _cells(self, module: nn.Module, step: int) -> npt.NDArray[np.int64]:
        metrics = self.charter.metrics
        if not counts_are_due(self.charter, step):
            return np.zeros(metrics.cells, np.int64)
        if metrics.release == "exact":
            return self._counts(module)
        with drawing_from(self.generator, self.device):
            counts = self._counts(module)
        return noisy_counts(counts, self.charter.privacy.metric_noise_multiplier, self.generator)

    def _counts(self, module: nn.Module) -> npt.NDArray[np.int64]:
        if self.validation is None:
            return np.zeros(self.charter.metrics.cells, np.int64)
        return count_cells(self.task, module, self.validation, self.device)
