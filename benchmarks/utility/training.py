"""One training of one mode, measured: through the whole protocol, at one curator, or at each hospital by itself.

Whatever a mode does to the model is the toolkit's own code.
"""

from __future__ import annotations

import resource
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Final

import msgspec
import numpy as np
import torch
from safetensors.numpy import load_file
from torch import nn

from benchmarks.utility.charters import choices, open_training, shared_choices
from benchmarks.utility.ground import Ground
from benchmarks.utility.study import DELTA, PROTOCOL, Cell, Cost, Mode, Recipe, Scores
from dp.accounting import epsilon_of_runs, noise_multiplier_for
from dp.events import GaussianEvent
from training.local_sgd import train_locally
from training.model_state import ModelLayout, load
from training.pooled_steps import PooledSteps
from training.records import Records
from training.simulation import Observer, run
from training.simulation_folder import SimulationSettings, prepare

CPU: Final = torch.device("cpu")


@dataclass(frozen=True, eq=False)
class Made:
    """A model, and what it took but CPU time; see `Cost`."""

    module: nn.Module
    spent: float | None
    sent: int = 0
    received: int = 0


def trained(ground: Ground, mode: Mode, epsilon: float | None, seed: int, recipe: Recipe, folder: Path) -> Cell:
    """Train and measure one cell. What it leaves on disk, in ``folder``, is removed."""
    if mode == "alone":
        return _each_alone(ground, epsilon, seed, recipe)
    start = _cpu_seconds()
    if mode in PROTOCOL:
        made = through_the_protocol(ground, mode, epsilon, seed, recipe, folder)
    else:
        made = Made(in_one_place(ground, ground.pooled, epsilon, recipe, seed), accounted(recipe, epsilon))
    cost = Cost(_cpu_seconds() - start, made.sent, made.received, made.spent)
    validation, test = ground.validated(made.module), ground.scores(made.module)
    return Cell(ground.study.name, mode, epsilon, seed, recipe, len(ground.hospitals), validation, test, cost)


def _each_alone(ground: Ground, epsilon: float | None, seed: int, recipe: Recipe) -> Cell:
    start = _cpu_seconds()
    modules = [in_one_place(ground, held.train, epsilon, recipe, seed) for held in ground.hospitals]
    cost = Cost(_cpu_seconds() - start, spent=accounted(recipe, epsilon))
    tests = [ground.scores(module) for module in modules]
    validations = [found for module in modules if (found := ground.validated(module))]
    validation = mean_scores(validations) if validations else None
    return Cell(ground.study.name, "alone", epsilon, seed, recipe, len(modules), validation, mean_scores(tests), cost)


def in_one_place(ground: Ground, records: Records, epsilon: float | None, recipe: Recipe, seed: int) -> nn.Module:
    """A model of these records alone: DP-SGD with the noise of one curator, or SGD where ``epsilon`` is None."""
    scaled = ground.scaled(records)
    if epsilon is None:
        module = ground.task.build_model()
        settings = open_training(recipe, records.patient_count)
        steps = msgspec.structs.replace(settings, local_steps=recipe.steps, rounds=1)
        train_locally(module, scaled, ground.task.loss, steps, np.random.default_rng(seed), CPU)
        return module
    charter = ground.charter(shared_choices(ground, epsilon, recipe))
    batch = max(1.0, recipe.sampling_rate * records.patient_count)
    return PooledSteps(charter, ground.task, scaled, batch, CPU, charter.training.rounds).privately()


def through_the_protocol(
    ground: Ground, mode: Mode, epsilon: float | None, seed: int, recipe: Recipe, folder: Path
) -> Made:
    """The model that the hospitals make together, and what their ledgers and the coordinator's records say of it."""
    place = folder / "run"
    shutil.rmtree(place, ignore_errors=True)
    settings = SimulationSettings(
        task_kind=ground.spec.kind,
        task_settings=ground.spec.settings_json().decode(),
        source=ground.places.source,
        choices=choices(ground, mode, epsilon, recipe),
        device="cpu",
        seed=seed,
        compare=False,
    )
    prepare(place, settings)
    result = run(place, Observer())
    module = ground.task.build_model()
    load(module, ModelLayout.of(module).to_vector(load_file(place / "release" / "model.safetensors")))
    shutil.rmtree(place)
    hospitals = len(ground.hospitals)
    sent = sum(found.record.bytes_up for found in result.rounds) // hospitals
    received = sum(found.record.bytes_down for found in result.rounds) // hospitals
    return Made(module, result.rounds[-1].epsilon, sent, received)


def accounted(recipe: Recipe, epsilon: float | None) -> float | None:
    """What one curator's noise comes to, by the accountant."""
    if epsilon is None:
        return None
    noise = noise_multiplier_for(epsilon, DELTA, recipe.sampling_rate, recipe.rounds)
    return epsilon_of_runs([((GaussianEvent(noise, recipe.sampling_rate, recipe.rounds),),)], DELTA)


def mean_scores(found: Sequence[Scores]) -> Scores:
    """Of each measure the mean, where all have it."""

    def mean(value: Callable[[Scores], float | None]) -> float | None:
        values = [known for scores in found if (known := value(scores)) is not None]
        return fmean(values) if len(values) == len(found) else None

    return Scores(
        found[0].patients, mean(lambda one: one.accuracy), mean(lambda one: one.auc), mean(lambda one: one.c_index)
    )


def _cpu_seconds() -> float:
    """Of this process and of the worker processes that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)
