"""What a federated model is compared with: one model on the pooled records, and each hospital's own.

Knows how to train without any protection. Only somebody who has everybody's records can do this: a simulation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
import torch

from secagg.charter import Charter, Training
from training.evaluation import Metrics, evaluate
from training.local_sgd import train_locally
from training.records import Records, concatenate
from training.scaling import Scaling
from training.standardisation import first_moments, mean_from_sum, second_moments
from training.task import Task


@dataclass(frozen=True, eq=False)
class Held:
    """One hospital's training patients, for the comparison."""

    name: str
    train: Records


@dataclass(frozen=True, eq=False)
class Comparison:
    """Trains without protection and measures on the same test records.

    Attributes:
        seed: of the order of batches.
    """

    charter: Charter
    task: Task
    test: Records
    device: torch.device
    seed: int

    def pooled(self, hospitals: Sequence[Held]) -> Metrics:
        """All records in one place: as many steps as each hospital takes, on batches as large as all of theirs."""
        charter = self.charter
        if charter.privacy.mode == "none":
            batch = sum(min(charter.training.batch_size, len(held.train)) for held in hospitals)
        else:
            batch = round(sum(charter.privacy.sampling_rate * held.train.patient_count for held in hospitals))
        return self._trained(concatenate([held.train for held in hospitals]), max(1, batch))

    def alone(self, held: Held) -> Metrics:
        """One hospital on its own records, for as many steps as it takes in the consortium."""
        charter = self.charter
        batch = charter.training.batch_size
        if charter.privacy.mode != "none":
            batch = max(1, round(charter.privacy.sampling_rate * held.train.patient_count))
        return self._trained(held.train, batch)

    def _trained(self, records: Records, batch: int) -> Metrics:
        scaling = Scaling(self.charter, self.task.spec)
        sums: list[np.ndarray] = []
        if scaling.needs_moments:
            sums.append(first_moments(records, 1.0))
            sums.append(second_moments(records, 1.0, mean_from_sum(sums[0])))
        module = self.task.build_model()
        settings = _all_at_once(self.charter.training, batch)
        generator = np.random.default_rng(self.seed)
        train_locally(module, scaling.apply(records, sums), self.task.loss, settings, generator, self.device)
        return evaluate(self.task, module, scaling.apply(self.test, sums), self.device)


def _all_at_once(training: Training, batch: int) -> Training:
    steps = training.rounds * training.local_steps
    return msgspec.structs.replace(training, local_steps=steps, batch_size=batch, prox_mu=0.0)
