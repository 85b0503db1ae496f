from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from torch import nn

from secagg.charter import Training
from secagg.errors import InputError
from training.evaluation import evaluate
from training.local_sgd import train_locally
from training.model_state import flatten
from training.records import Records, concatenate
from training.splitting import divide_stratified
from training.standardisation import moments_of, standardiser_of
from training.task import TaskSpec, build_task
from training.tasks.models import classification_loss

CPU = torch.device("cpu")


def ten_records() -> Records:
    numbers = np.arange(10)
    features = np.stack([numbers / 10, 1 - numbers / 5], axis=1).astype(np.float32)
    return Records(features, (numbers >= 5).astype(np.int64), numbers.astype(np.int64), ("a", "b"), "a.csv")


def zero_model() -> nn.Module:
    model = nn.Linear(2, 1)
    for parameter in model.parameters():
        nn.init.zeros_(parameter)
    return model


def trained(settings: Training, seed: int = 0) -> np.ndarray:
    model = zero_model()
    train_locally(model, ten_records(), classification_loss, settings, np.random.default_rng(seed), CPU)
    return flatten(model)


def test_pooled_hearts_reach_the_published_accuracy(heart_spec: TaskSpec, heart_files: tuple[Path, ...]) -> None:
    task = build_task(heart_spec)
    halves = [divide_stratified(task.read(path), 0.66, 43) for path in heart_files]
    train, test = (concatenate([half[side] for half in halves]) for side in (0, 1))
    standardiser = standardiser_of(moments_of(train))
    model = task.build_model()
    settings = Training(rounds=1, local_steps=200, batch_size=len(train), learning_rate=0.5)
    train_locally(model, standardiser.apply(train), task.loss, settings, np.random.default_rng(0), CPU)
    metrics = evaluate(task, model, standardiser.apply(test), CPU)
    assert metrics.accuracy == pytest.approx(0.795, abs=0.012)
    assert metrics.auc == pytest.approx(0.881, abs=0.005)


def test_one_full_batch_step_is_the_gradient_step() -> None:
    records = ten_records()
    expected = 0.5 * ((records.labels - 0.5)[:, None] * records.features).mean(axis=0)
    moved = trained(Training(rounds=1, local_steps=1, batch_size=100, learning_rate=0.5))
    np.testing.assert_allclose(moved, [0.0, *expected], atol=1e-7)


def test_limit_each_row_of_a_patient_counts_unless_rows_are_limited() -> None:
    """Without differential privacy; with it, a patient is the mean of its rows."""
    once = ten_records()
    often = once.take([*range(10), *([0] * 90)])
    assert often.patient_count == 10
    settings = Training(rounds=1, local_steps=1, batch_size=100, learning_rate=0.5)

    def update(records: Records) -> np.ndarray:
        model = zero_model()
        train_locally(model, records, classification_loss, settings, np.random.default_rng(0), CPU)
        return flatten(model)

    first = 0.5 * (once.labels[0] - 0.5) * once.features[0]
    np.testing.assert_allclose(update(often)[1:], 0.1 * update(once)[1:] + 0.9 * first, atol=1e-6)
    np.testing.assert_allclose(update(often.limit_rows(1)), update(once), atol=1e-6)


def test_the_same_generator_trains_the_same_model() -> None:
    settings = Training(rounds=1, local_steps=7, batch_size=3, learning_rate=0.5, momentum=0.9)
    np.testing.assert_array_equal(trained(settings, 1), trained(settings, 1))
    assert not np.array_equal(trained(settings, 1), trained(settings, 2))


def test_what_the_model_draws_itself_follows_from_the_generator_and_moves_nobody_elses_draws() -> None:
    settings = Training(rounds=1, local_steps=7, batch_size=3, learning_rate=0.5)

    def with_dropout(seed: int) -> np.ndarray:
        model = nn.Sequential(nn.Dropout(0.5), zero_model())
        train_locally(model, ten_records(), classification_loss, settings, np.random.default_rng(seed), CPU)
        return flatten(model)

    np.testing.assert_array_equal(with_dropout(1), with_dropout(1))
    assert not np.array_equal(with_dropout(1), with_dropout(2))
    model = nn.Sequential(nn.Dropout(0.5), zero_model())
    before = torch.get_rng_state()
    train_locally(model, ten_records(), classification_loss, settings, np.random.default_rng(1), CPU)
    assert torch.equal(torch.get_rng_state(), before)


def test_each_round_draws_anew() -> None:
    settings = Training(rounds=1, local_steps=1, batch_size=100, learning_rate=0.5)
    generator = np.random.default_rng(1)

    def update() -> np.ndarray:
        model = nn.Sequential(nn.Dropout(0.5), zero_model())
        train_locally(model, ten_records(), classification_loss, settings, generator, CPU)
        return flatten(model)

    assert not np.array_equal(update(), update())


def test_a_pull_to_the_shared_model_keeps_training_near_it() -> None:
    free = Training(rounds=1, local_steps=50, batch_size=10, learning_rate=0.5)
    pulled = msgspec.structs.replace(free, prox_mu=1.0)
    decayed = msgspec.structs.replace(free, weight_decay=1.0)
    assert np.linalg.norm(trained(pulled)) < 0.5 * np.linalg.norm(trained(free))
    # The shared model is zero here, so that FedProx and weight decay are one and the same force.
    np.testing.assert_allclose(trained(pulled), trained(decayed), atol=1e-6)


def test_every_record_is_seen_once_before_any_is_seen_twice() -> None:
    seen: list[float] = []

    class Watching(nn.Linear):
        def forward(self, features: torch.Tensor) -> torch.Tensor:
            seen.extend(features[:, 0].tolist())
            return super().forward(features)

    settings = Training(rounds=1, local_steps=4, batch_size=5, learning_rate=0.1)
    train_locally(Watching(2, 1), ten_records(), classification_loss, settings, np.random.default_rng(0), CPU)
    everything = sorted(ten_records().features[:, 0].tolist())
    assert sorted(seen[:10]) == everything
    assert sorted(seen[10:]) == everything


def test_parameters_that_are_frozen_stay() -> None:
    model = nn.Linear(2, 1)
    model.bias.requires_grad_(False)
    before = model.bias.clone()
    settings = Training(rounds=1, local_steps=3, learning_rate=0.5, weight_decay=0.1, prox_mu=0.1)
    train_locally(model, ten_records(), classification_loss, settings, np.random.default_rng(0), CPU)
    assert torch.equal(model.bias, before)


def test_training_that_diverges_says_so() -> None:
    records = ten_records()
    with pytest.raises(InputError) as caught:
        train_locally(
            zero_model(),
            records,
            lambda outputs, labels: ((outputs[:, 0] - labels) ** 2).mean(),
            Training(rounds=1, local_steps=200, batch_size=10, learning_rate=1e6),
            np.random.default_rng(0),
            CPU,
        )
    assert caught.value.reason == "training-diverged"
