"""One training of one mode, measured: through the whole protocol, at one curator, or at each hospital by itself.

Knows how a recipe becomes a charter. Whatever a mode does to the model is the toolkit's own code.
"""

from __future__ import annotations

import math
import resource
import shutil
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import Final

import msgspec
import numpy as np
import torch
from safetensors.numpy import load_file
from torch import nn

from benchmarks.utility.measuring import measured
from benchmarks.utility.study import DELTA, PROTOCOL, Cell, Cost, Mode, Places, Recipe, Scores, Study
from dp.accounting import epsilon_of_runs, noise_multiplier_for
from dp.events import GaussianEvent
from secagg.charter import Charter, Encoding, Member, Training
from secagg.charter.model import PrivacyMode, ServerStep
from secagg.identity import Identity
from training.draft import CharterChoices, draft_charter, make_task
from training.hospital import split_patients
from training.local_sgd import train_locally
from training.model_state import ModelLayout, load
from training.pooled_steps import PooledSteps
from training.records import Records, concatenate
from training.scaling import Scaling
from training.simulation import Observer, SimulationSettings, prepare, run
from training.sites import read_sites
from training.splitting import holdout
from training.task import TaskSpec, bind_to_file, load_task_file

CPU: Final = torch.device("cpu")
_EPOCH: Final = 50
# Noise makes updates longer than this only with a chance that does not matter: it is summed over many coordinates.
_ROOM: Final = 2.0


@dataclass(frozen=True, eq=False)
class Hospital:
    """One hospital's training patients, as they are in its file."""

    name: str
    train: Records


class Ground:
    """A study's records, read and divided."""

    def __init__(self, study: Study, places: Places) -> None:
        self.study = study
        self.places = places
        self.spec = _bound(study.task, places)
        self.task = make_task(self.spec)
        kept = []
        self.hospitals: list[Hospital] = []
        for site in read_sites(places.source, self.task):
            train, back = split_patients(site.records, self.task)
            self.hospitals.append(Hospital(site.name, train))
            kept += [back] if back else []
        self.test = self.task.read(Path(places.test)) if places.test else concatenate(kept)
        self.validation = self.task.read(Path(places.validation)) if places.validation else None

    @property
    def pooled(self) -> Records:
        """The training patients of all hospitals."""
        return concatenate([hospital.train for hospital in self.hospitals])

    def keeping_back(self, part: float, seed: int) -> Ground:
        """The same, with this part of each hospital's training patients as validation patients; or as it is, where the
        data set has some."""
        if self.validation:
            return self
        ground = copy(self)
        parts = [holdout(held.train, 1 - part, seed) for held in self.hospitals]
        ground.hospitals = [Hospital(held.name, train) for held, (train, _) in zip(self.hospitals, parts, strict=True)]
        ground.validation = concatenate([back for _, back in parts])
        return ground

    def scaled(self, records: Records) -> Records:
        """As the task scales them: by bounds that are known, so by nobody's records."""
        return Scaling(self._any_charter, self.spec).apply(records, [])

    def charter(self, choices: CharterChoices) -> Charter:
        """What these choices come to for these hospitals, with keys of nobody."""
        keys = [Identity.from_seed(number.to_bytes(32, "big")).public_key for number in range(len(self.hospitals))]
        members = [Member(name=held.name, public_key=key) for held, key in zip(self.hospitals, keys, strict=True)]
        return draft_charter(choices, members, self.spec)

    def scores(self, module: nn.Module) -> Scores:
        """On the test patients."""
        return measured(self.task, module, self.scaled(self.test))

    def validated(self, module: nn.Module) -> Scores | None:
        """On the validation patients, where the data set has some."""
        return measured(self.task, module, self.scaled(self.validation)) if self.validation else None

    @cached_property
    def _any_charter(self) -> Charter:
        return self.charter(CharterChoices(training=Training(rounds=1)))


def _bound(task: Path, places: Places) -> TaskSpec:
    """The task with its columns written out, as the toolkit does where a file names them."""
    spec = load_task_file(task)
    return spec if spec.is_bound else bind_to_file(spec, Path(places.source.paths[0]))


def trained(ground: Ground, mode: Mode, epsilon: float | None, seed: int, recipe: Recipe, folder: Path) -> Cell:
    """Train and measure one cell. What it leaves on disk, in ``folder``, is removed."""
    if mode == "alone":
        return _each_alone(ground, epsilon, seed, recipe)
    start = _cpu_seconds()
    if mode in PROTOCOL:
        module, sent, received, spent = through_the_protocol(ground, mode, epsilon, seed, recipe, folder)
    else:
        module = in_one_place(ground, ground.pooled, epsilon, recipe, seed)
        sent, received, spent = 0, 0, accounted(recipe, epsilon)
    cost = Cost(_cpu_seconds() - start, sent, received, spent)
    hospitals, validation = len(ground.hospitals), ground.validated(module)
    return Cell(ground.study.name, mode, epsilon, seed, recipe, hospitals, validation, ground.scores(module), cost)


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
    return PooledSteps(charter, ground.task, scaled, batch, CPU).privately()


def through_the_protocol(
    ground: Ground, mode: Mode, epsilon: float | None, seed: int, recipe: Recipe, folder: Path
) -> tuple[nn.Module, int, int, float | None]:
    """The model that the hospitals make together, bytes that each sent and got, and epsilon by the ledgers."""
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
    return module, sent, received, result.rounds[-1].epsilon


def choices(ground: Ground, mode: Mode, epsilon: float | None, recipe: Recipe) -> CharterChoices:
    """What a consortium would agree on to train so."""
    if epsilon is None:
        patients = ground.pooled.patient_count / len(ground.hospitals)
        return _choices(ground, "none", open_training(recipe, patients), recipe, 1.0, Encoding())
    if mode == "local":
        return local_choices(ground, epsilon, recipe)
    return shared_choices(ground, epsilon, recipe)


def shared_choices(ground: Ground, epsilon: float, recipe: Recipe) -> CharterChoices:
    """One sum is one step: the server's optimizer does all."""
    server = _server(recipe, recipe.learning_rate)
    training = Training(rounds=recipe.rounds, local_steps=1, server=server)
    return _choices(ground, "distributed", training, recipe, epsilon, Encoding(max_weight=1))


def local_choices(ground: Ground, epsilon: float, recipe: Recipe) -> CharterChoices:
    """Each hospital takes noisy steps of its own; the mean update goes through the same optimizer as a shared step."""
    training = Training(
        rounds=recipe.rounds,
        local_steps=recipe.local_steps,
        learning_rate=recipe.learning_rate,
        server=_server(recipe, 1.0),
    )
    encoding = Encoding(max_weight=1, field_bits=32, update_norm=_longest_update(ground, epsilon, recipe))
    return _choices(ground, "local", training, recipe, epsilon, encoding)


def open_training(recipe: Recipe, patients: float) -> Training:
    """SGD without privacy, on ``patients`` of one hospital or of all."""
    return Training(
        rounds=recipe.rounds,
        local_steps=recipe.local_steps,
        batch_size=max(1, round(recipe.sampling_rate * patients)),
        learning_rate=recipe.learning_rate,
        momentum=recipe.momentum,
    )


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


def _choices(
    ground: Ground, privacy: PrivacyMode, training: Training, recipe: Recipe, epsilon: float, encoding: Encoding
) -> CharterChoices:
    shared = privacy == "distributed"
    return CharterChoices(
        training=training,
        encoding=encoding,
        privacy=privacy,
        epsilon=epsilon,
        delta=DELTA,
        clip_norm=recipe.clip,
        sampling_rate=recipe.sampling_rate,
        expected_batch=max(1, round(recipe.sampling_rate * ground.pooled.patient_count)) if shared else 0,
        noise_levels=ground.study.noise_levels if shared else None,
        epoch_rounds=_EPOCH,
    )


def _server(recipe: Recipe, learning_rate: float) -> ServerStep:
    return ServerStep(
        optimizer="momentum",
        learning_rate=learning_rate,
        momentum=recipe.momentum,
        schedule="cosine",
        warm_up=recipe.rounds // 30,
    )


def _longest_update(ground: Ground, epsilon: float, recipe: Recipe) -> float:
    """Room for a round's steps and their noise at the smallest hospital, so that no update is cut short."""
    noise = noise_multiplier_for(epsilon, DELTA, recipe.sampling_rate, recipe.rounds * recipe.local_steps)
    parameters = ModelLayout.of(ground.task.build_model()).size
    batch = recipe.sampling_rate * min(held.train.patient_count for held in ground.hospitals)
    drawn = noise * math.sqrt(recipe.local_steps * parameters) / batch
    # A sample may be larger than expected, and each of its patients weighs at most one clip norm.
    learned = recipe.local_steps * max(1.0, 1.0 / recipe.sampling_rate)
    return _ROOM * recipe.learning_rate * recipe.clip * (drawn + learned)


def _cpu_seconds() -> float:
    """Of this process and of the worker processes that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)
