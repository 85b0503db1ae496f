"""What the documents say is not prevented: who chooses the model that training starts from may read patients in a sum.

The model is that of Fowl et al. 2022 (Robbing the Fed, arXiv 2110.13057), as a backbone: numbers only, which every
hospital has and all have signed for. Nobody lies during the run.
"""

from __future__ import annotations

import hashlib

import msgspec
import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from safetensors.torch import save

from secagg.charter import Encoding, Training
from tests.support.hospitals import settings_for
from training.choices import CharterChoices
from training.draft import make_task
from training.simulation import Observer, run
from training.simulation_folder import prepare
from training.task import TaskSpec
from training.tasks.backbone import FOLDER

FEATURES = ("age", "pressure", "cholesterol", "rate")
# What anybody knows of such features.
LOWEST, HIGHEST = np.array([20, 90, 150, 60]), np.array([90, 180, 320, 200])
HOSPITALS, PATIENTS, IN_TRAINING, BINS = 5, 40, 0.8, 600
TRAP = "trap.safetensors"
CHOICES = CharterChoices(
    # So that numbers can be compared exactly: the usual 24 bits round them, and show about as many patients.
    encoding=Encoding(field_bits=48),
    training=Training(rounds=1, local_steps=1, batch_size=64, learning_rate=10.0),
)


@pytest.fixture
def tables(tmp_path):
    generator = np.random.default_rng(5)
    paths = []
    for number in range(1, HOSPITALS + 1):
        rows = generator.integers([*LOWEST, 0], [*HIGHEST, 2], (PATIENTS, len(FEATURES) + 1))
        paths.append(tmp_path / f"h{number}.csv")
        np.savetxt(paths[-1], rows, "%d", ",", header=",".join((*FEATURES, "ill")), comments="")
    return paths


def trap() -> bytes:
    """A layer whose units all look along one direction, and each passes what is beyond its own quantile of it.

    So the gradients of two neighbours differ by the patients in between, who are few, or one.
    """
    generator = np.random.default_rng(1)
    direction = generator.uniform(0.001, 0.004, len(FEATURES))
    seen = generator.uniform(LOWEST, HIGHEST, (200_000, len(FEATURES))) @ direction
    beyond = np.quantile(seen, np.arange(BINS) / BINS)
    layers = {
        "0.weight": np.tile(direction, (BINS, 1)),
        "0.bias": -beyond,
        "2.weight": np.full((1, BINS), 1e-3),
        "2.bias": np.zeros(1),
    }
    return save({name: torch.tensor(values, dtype=torch.float32) for name, values in layers.items()})


def specification(**model: str) -> TaskSpec:
    settings = {
        "model": {"name": "mlp", "hidden": [BINS], **model},
        "data": {"label": "ill", "features": FEATURES, "standardise": "none"},
        "evaluation": {"metric": "accuracy", "test_fraction": 1 - IN_TRAINING},
    }
    return TaskSpec.from_settings("tabular-classification", msgspec.json.encode(settings))


@pytest.fixture
def crafted(tmp_path, monkeypatch):
    (tmp_path / TRAP).write_bytes(trap())
    monkeypatch.setenv(FOLDER, str(tmp_path))
    return specification(backbone=TRAP, backbone_sha256=hashlib.sha256(trap()).hexdigest())


def read(folder, tables, spec, choices=CHOICES) -> set[tuple[int, ...]]:
    """The patients that the released model shows, exactly and in every feature, to who knows what it started from."""
    prepare(folder, settings_for(tables, choices, spec))
    run(folder, Observer())
    moved = moved_layer(load_file(folder / "release" / "model.safetensors"), start_of(spec))
    apart = moved - np.vstack([moved[1:], np.zeros_like(moved[:1])])
    with np.errstate(divide="ignore", invalid="ignore"):
        guesses = np.vstack([rows[:, :-1] / rows[:, -1:] for rows in (moved, apart)])
    patients = np.vstack([np.loadtxt(path, int, delimiter=",", skiprows=1) for path in tables])[:, :-1]
    found = np.abs(guesses[:, None] - patients).max(axis=2) < 0.5
    return {tuple(patient) for patient in patients[found.any(axis=0)].tolist()}


def moved_layer(released, started) -> np.ndarray:
    """How far each unit of the first layer has moved, its bias last; shape (units, features + 1)."""
    weights, bias = (np.float64(released[name]) - np.float64(started[name]) for name in ("0.weight", "0.bias"))
    return np.column_stack([weights, bias])


def start_of(spec) -> dict[str, np.ndarray]:
    return {name: tensor.numpy() for name, tensor in make_task(spec).build_model().state_dict().items()}


def test_limit_after_one_sum_from_a_crafted_start_the_released_model_shows_most_patients(tmp_path, tables, crafted):
    assert len(read(tmp_path / "run", tables, crafted)) > HOSPITALS * PATIENTS * IN_TRAINING / 2


def test_control_from_the_seed_the_same_sum_shows_a_few_at_most(tmp_path, tables):
    """Not nobody: a unit of so many may happen to look at one patient alone."""
    assert len(read(tmp_path / "run", tables, specification())) < HOSPITALS * PATIENTS / 20


@pytest.mark.parametrize("privacy", ["local", "distributed"])
def test_with_differential_privacy_a_crafted_start_shows_nobody(tmp_path, tables, crafted, privacy):
    private = msgspec.structs.replace(CHOICES, privacy=privacy, epsilon=8.0, sampling_rate=1.0)
    assert read(tmp_path / "run", tables, crafted, private) == set()
