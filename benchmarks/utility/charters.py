"""How a recipe becomes what a consortium agrees on: one function for each way of training. Trains nothing."""

from __future__ import annotations

import math
from typing import Final

from benchmarks.utility.ground import Ground
from benchmarks.utility.study import DELTA, Mode, Recipe
from dp.accounting import noise_multiplier_for
from secagg.charter import Encoding, Training
from secagg.charter.sections import PrivacyMode, ServerStep
from training.choices import CharterChoices
from training.model_state import ModelLayout

_EPOCH: Final = 50
# Noise is a sum over many coordinates: it makes no update longer than this, but for a chance that does not matter.
_ROOM: Final = 2.0


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
