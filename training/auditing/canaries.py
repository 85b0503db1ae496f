"""Patients that are easy to find again: each has a direction of the model for itself, and weighs more than it may.

Knows records, and the model whose gradients they are. Knows nothing of noise or of what is released.

A canary's gradient is `OVERWEIGHT` times the clip norm, in its own direction and in no other, whatever the model (a
"Dirac canary": Nasr et al. 2023, "Tight Auditing of Differentially Private Machine Learning"; Steinke, Nasr and
Jagielski 2023). Clipped, it weighs what the accountant believes a patient to weigh; not clipped, it gives itself away.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from secagg.errors import InputError
from training.auditing.claim import ORDINARY, direction_count
from training.records import Records
from training.tasks.models import class_scores
from training.tasks.spec import DataSpec, EvaluationSpec, ModelSpec, TaskSpec

KIND: Final = "training.auditing.canaries:canary_task"
OVERWEIGHT: Final = 8.0

_COLUMNS: Final = ("direction", "length")


class Directions(nn.Module):
    """One parameter a direction, from nought. A row's output is its length times the parameter of its direction."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.parameter_of = nn.Embedding(count, 1)
        nn.init.zeros_(self.parameter_of.weight)

    def forward(self, rows: Tensor) -> Tensor:
        """(n, 1) of (n, 2): direction and length."""
        lengths: Tensor = self.parameter_of(rows[:, 0].long())
        return lengths * rows[:, 1:]


@dataclass(frozen=True)
class CanaryTask:
    """A `training.task.Task`. The number of directions stands where a perceptron has its width."""

    spec: TaskSpec

    def read(self, path: Path) -> Records:
        """Canaries are in no file. Raises InputError ``canaries-in-no-file``."""
        raise InputError(
            "canaries-in-no-file",
            f"{path} cannot be read: canaries are made for an audit, and kept nowhere.",
            remedy="Run `secagg audit privacy`, which makes them.",
        )

    def build_model(self) -> nn.Module:
        """The model that every hospital starts from."""
        return Directions(self.spec.model.hidden[0])

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:  # noqa: ARG002 - as every task has it
        """Minus the mean output, so that a step moves each parameter by what its patients weigh."""
        return -outputs.mean()

    def scores(self, outputs: Tensor) -> Tensor:
        """Of two classes that nobody asks for, (n, 2)."""
        return class_scores(outputs)


def canary_task(spec: TaskSpec) -> CanaryTask:
    """The task of a specification that `canary_spec` made."""
    return CanaryTask(spec)


def canary_spec(canaries: int) -> TaskSpec:
    """A task with a direction for each canary and one for everybody else."""
    model = ModelSpec(name="mlp", hidden=(direction_count(canaries),))
    return TaskSpec(KIND, model, DataSpec(), EvaluationSpec(test_fraction=0.0))


def canary_records(inside: npt.NDArray[np.int64], clip_norm: float) -> Records:
    """One hospital's patients: the canaries that the coin put in, and a few ordinary ones.

    Args:
        inside: int64, the numbers of these canaries, from 0.
        clip_norm: of the charter that is audited.
    """
    directions = np.concatenate([np.zeros(ORDINARY, np.int64), inside + 1])
    lengths = np.full(len(directions), OVERWEIGHT * clip_norm)
    lengths[:ORDINARY] = np.linspace(0.25, 2.0, ORDINARY) * clip_norm
    features = np.stack([directions, lengths], axis=1).astype(np.float32)
    labels = np.zeros(len(directions), np.int64)
    return Records(features, labels, np.arange(len(directions)), _COLUMNS, "canaries")
