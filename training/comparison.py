"""What a federated model is compared with: one model on the pooled records, and each hospital's own.

Knows how to train in one place, with the charter's differential privacy or without. Only somebody who has everybody's
records can do this: a simulation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from dp.randomness import secure_generator
from secagg.charter import Charter
from training.evaluation import evaluate
from training.local_sgd import train_locally
from training.local_work import LocalWork
from training.metrics import Metrics
from training.model_state import change_since, load
from training.one_place import train_in_one_place
from training.pooled_steps import PooledSteps
from training.records import Records, concatenate
from training.scaling import Scaling
from training.task import Task


@dataclass(frozen=True, eq=False)
class HospitalPatients:
    """One hospital's training patients, for the comparison."""

    name: str
    train: Records


@dataclass(frozen=True, eq=False)
class Comparison:
    """Trains on what it is given and measures on the same test records.

    Attributes:
        seed: of the order of batches.
        sums: how many the hospitals made. Each model takes as many steps as they, as a consortium of one: the charter's
            local steps, then the server's.
    """

    charter: Charter
    task: Task
    test: Records
    device: torch.device
    seed: int
    sums: int

    def pooled(self, hospitals: Sequence[HospitalPatients]) -> Metrics:
        """All records in one place, no protection: as many steps as each hospital took, on batches as large as all
        of theirs together; under ``distributed``, as large as the charter says."""
        return self._train_openly(concatenate([hospital.train for hospital in hospitals]), self._batch(hospitals))

    def curator(self, hospitals: Sequence[HospitalPatients]) -> Metrics | None:
        """All records at one trusted curator, who adds the charter's noise once; None without differential privacy."""
        records = concatenate([hospital.train for hospital in hospitals])
        return self._train_privately(records, self.charter.training.batch_size)

    def alone(self, hospital: HospitalPatients) -> Metrics:
        """One hospital on its own records, for as many steps as it took in the consortium, as private as there."""
        own = hospital.train
        batch = max(1.0, self.charter.privacy.sampling_rate * own.patient_count)
        return self._train_privately(own, batch) or self._train_openly(own, self._batch([hospital]))

    def _batch(self, hospitals: Sequence[HospitalPatients]) -> int:
        charter = self.charter
        match charter.privacy.mode:
            case "none":
                return sum(min(charter.training.batch_size, len(hospital.train)) for hospital in hospitals)
            case "local":
                # Rows, as batches are drawn here: patients who are drawn in the run bring all of theirs.
                rows = sum(len(hospital.train) for hospital in hospitals)
                return max(1, round(charter.privacy.sampling_rate * rows))
            case "distributed":
                return charter.training.batch_size

    def _train_openly(self, records: Records, batch: int) -> Metrics:
        generator = np.random.default_rng(self.seed)
        if self.charter.privacy.mode == "distributed":
            return self._measure(self._steps(records, batch).openly(generator), records)
        scaled = self._scaled(records, records)
        settings = msgspec.structs.replace(self.charter.training, batch_size=batch)

        def train(module: nn.Module) -> None:
            train_locally(module, scaled, self.task.loss, settings, generator, self.device)

        return self._measure(self._in_rounds(train), records)

    def _train_privately(self, records: Records, batch: float) -> Metrics | None:
        """As private as the charter; ``batch`` is what sums of gradients are divided by, under ``distributed``."""
        if self.charter.privacy.mode == "none":
            return None
        if self.charter.privacy.mode == "distributed":
            return self._measure(self._steps(records, batch).privately(), records)
        scaled = self._scaled(records, records)
        work = LocalWork(self.charter, self.task, scaled, None, self.device, secure_generator())
        return self._measure(self._in_rounds(work.train), records)

    def _in_rounds(self, train: Callable[[nn.Module], None]) -> nn.Module:
        worked_on = self.task.build_model()

        def update(model: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
            load(worked_on, model)
            train(worked_on)
            return change_since(model, worked_on)

        return train_in_one_place(self.task, self.charter.training, self.sums, update)

    def _steps(self, records: Records, batch: float) -> PooledSteps:
        return PooledSteps(self.charter, self.task, self._scaled(records, records), batch, self.device, self.sums)

    def _measure(self, module: nn.Module, trained_on: Records) -> Metrics:
        return evaluate(self.task, module, self._scaled(self.test, trained_on), self.device)

    def _scaled(self, records: Records, trained_on: Records) -> Records:
        return Scaling(self.task.spec).by(records, trained_on)
