"""Training in one place, by the steps that the hospitals of a charter take together: a consortium of one.

Knows the charter's server step. How an update is made of records is the caller's business.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from torch import nn

from secagg.charter import Training
from training.model_state import flatten, load
from training.server_optimizer import apply, initial_state
from training.task import Task

Update = Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float64]]


def train_in_one_place(task: Task, training: Training, sums: int, update: Update) -> nn.Module:
    """The task's model after ``sums`` steps of the server.

    Args:
        sums: how many; fewer than the charter's rounds for a run that ended before. Schedules are those of all rounds.
        update: from parameters, float32 (d,), the way to go, float64 (d,); see `training.server_optimizer.apply`.

    Raises:
        StepOverflowError: ``model-not-finite``.
    """
    module = task.build_model()
    model = flatten(module)
    state = initial_state(len(model))
    for _ in range(sums):
        state, model = apply(training.server, state, model, update(model), training.rounds)
    load(module, model)
    return module
