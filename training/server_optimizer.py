"""The step that every hospital takes from one summed update, so that all hold the same model afterwards.

This module knows FedAvg, server momentum and FedAdam (Reddi et al. 2021, without bias correction). It works element
by element in float64 numpy, each product and each sum rounded by itself; no BLAS and no fused operation, so that two
hospitals with different hardware get the same bits. It knows nothing of where the update came from.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from secagg.charter.sections import ServerStep
from secagg.errors import InputError

Vector = npt.NDArray[np.float64]
Model = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class OptimizerState:
    """What is kept between steps: their number, and the running first and second moments, float64 (d,)."""

    step: int
    first: Vector
    second: Vector


class StepOverflowError(InputError):
    """A step that would leave no model that is a number."""


def initial_state(size: int) -> OptimizerState:
    """The state before the first step, for a model of ``size`` parameters."""
    return OptimizerState(0, np.zeros(size), np.zeros(size))


def apply(
    settings: ServerStep, state: OptimizerState, model: Model, mean_update: Vector, rounds: int
) -> tuple[OptimizerState, Model]:
    """Take one step; nothing is changed in place.

    Args:
        settings: the charter's optimizer.
        state: what the step before returned.
        model: float32 (d,).
        mean_update: float64 (d,), the way to go: the mean of the hospitals' (new - old), or minus a mean gradient.
        rounds: of the whole training, over which the learning rate falls.

    Raises:
        InputError: ``model-shape``.
        StepOverflowError: ``model-not-finite``.
    """
    for name, array, dtype in (("model", model, np.float32), ("update", mean_update, np.float64)):
        if array.dtype != dtype or array.shape != state.first.shape:
            message = f"The {name} is {array.dtype} {array.shape}; {np.dtype(dtype)} {state.first.shape} is wanted."
            raise InputError("model-shape", message, culprit=name, remedy="Use the state and model of one task.")
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        first, second, direction = _moments(settings, state, mean_update)
        rate = learning_rate(settings, state.step, rounds)
        stepped = (model.astype(np.float64) + rate * direction).astype(np.float32)
    if not np.isfinite(stepped).all():
        message = f"Step {state.step + 1} makes a parameter infinite or NaN."
        raise StepOverflowError("model-not-finite", message, remedy="Lower the learning rate.")
    return OptimizerState(state.step + 1, first, second), stepped


def learning_rate(settings: ServerStep, step: int, rounds: int) -> float:
    """The learning rate after ``step`` of ``rounds`` steps, the same bits everywhere."""
    if step < settings.warm_up:
        return settings.learning_rate * ((step + 1) / (settings.warm_up + 1))
    done = (step - settings.warm_up) / max(1, rounds - settings.warm_up)
    match settings.schedule:
        case "constant":
            return settings.learning_rate
        case "linear":
            return settings.learning_rate * (1.0 - done)
        case "cosine":
            # Rounded, because mathematical libraries differ in the last bit of a cosine.
            return settings.learning_rate * round(0.5 + 0.5 * math.cos(math.pi * done), 9)


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
