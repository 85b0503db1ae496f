"""The step that every hospital takes from one summed update, so that all hold the same model afterwards.

This module knows FedAvg, server momentum and FedAdam (Reddi et al. 2021, without bias correction). It works element
by element in float64 numpy, each product and each sum rounded by itself; no BLAS and no fused operation, so that two
hospitals with different hardware get the same bits. It knows nothing of where the update came from.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from secagg.charter.model import ServerStep
from secagg.errors import InputError

Vector = npt.NDArray[np.float64]
Model = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class OptimizerState:
    """What is kept between steps: their number, and the running first and second moments, float64 (d,)."""

    step: int
    first: Vector
    second: Vector


def initial_state(size: int) -> OptimizerState:
    """The state before the first step, for a model of ``size`` parameters."""
    return OptimizerState(0, np.zeros(size), np.zeros(size))


def apply(
    settings: ServerStep, state: OptimizerState, model: Model, mean_update: Vector
) -> tuple[OptimizerState, Model]:
    """Take one step; nothing is changed in place.

    Args:
        settings: the charter's optimizer.
        state: what the step before returned.
        model: float32 (d,).
        mean_update: float64 (d,), the way to go: the mean of the hospitals' (new - old), or minus a mean gradient.

    Raises:
        InputError: ``model-shape``, or ``model-not-finite`` when the step overflows.
    """
    for name, array, dtype in (("model", model, np.float32), ("update", mean_update, np.float64)):
        if array.dtype != dtype or array.shape != state.first.shape:
            message = f"The {name} is {array.dtype} {array.shape}; {np.dtype(dtype)} {state.first.shape} is wanted."
            raise InputError("model-shape", message, culprit=name, remedy="Use the state and model of one task.")
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        first, second, direction = _moments(settings, state, mean_update)
        stepped = (model.astype(np.float64) + settings.learning_rate * direction).astype(np.float32)
    if not np.isfinite(stepped).all():
        message = f"Step {state.step + 1} makes the model infinite or NaN."
        raise InputError("model-not-finite", message, remedy="Lower the learning rate.")
    return OptimizerState(state.step + 1, first, second), stepped


def _moments(settings: ServerStep, state: OptimizerState, update: Vector) -> tuple[Vector, Vector, Vector]:
    match settings.optimizer:
        case "fedavg":
            return state.first, state.second, update
        case "momentum":
            first = settings.momentum * state.first + update
            return first, state.second, first
        case "adam":
            first = settings.beta1 * state.first + (1.0 - settings.beta1) * update
            second = settings.beta2 * state.second + (1.0 - settings.beta2) * (update * update)
            return first, second, first / (np.sqrt(second) + settings.tau)
