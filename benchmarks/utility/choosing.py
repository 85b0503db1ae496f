"""Chooses recipes: every combination of a grid once, the best of them twice more, on patients that no table shows.

    python -m benchmarks.utility.choosing --out runs/choosing --study heart

Validated is on the data set's own validation patients or, where it has none, on a third of each hospital's training
patients, another third with each seed. Test patients are never looked at. For speed hospitals pass no messages:
`local` and `federated` average the same updates of the same code. `distributed`, and `alone` under
privacy, take the recipe of `pooled`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from statistics import fmean
from typing import Final

import click
import msgspec
import numpy as np
import torch
from torch import nn

from benchmarks.utility.charters import choices
from benchmarks.utility.ground import Ground
from benchmarks.utility.measuring import measured
from benchmarks.utility.studies import STUDIES, named
from benchmarks.utility.study import REGIMES, Mode, Recipe, Regime, Scores, Study
from benchmarks.utility.training import CPU, in_one_place, mean_scores
from dp.randomness import secure_generator
from training.local_work import LocalWork
from training.model_state import flatten, load
from training.server_optimizer import apply, initial_state

CHOOSING: Final[tuple[Mode, ...]] = ("pooled", "local", "federated", "alone")
# The epsilon for which a regime's recipe is chosen.
CHOSEN_AT: Final[dict[Regime, float | None]] = {"strict": 1.0, "loose": 3.0, "open": None}
_REGIMES: Final[dict[Mode, tuple[Regime, ...]]] = {
    "local": ("strict", "loose"),
    "federated": ("open",),
    "alone": ("open",),
}
SEEDS: Final = (100, 101, 102)
_KEPT_BACK: Final = 1 / 3
_FINALISTS: Final = 3
# Images: a training takes long, and who is validated on is the same with each seed.
_ONCE: Final = frozenset({"breastmnist", "pneumoniamnist"})


class Trial(msgspec.Struct, frozen=True):
    """One recipe, tried once."""

    study: str
    mode: Mode
    regime: Regime
    seed: int
    recipe: Recipe
    validation: Scores


class Grid(msgspec.Struct, frozen=True):
    """What is combined with what, for one kind of data."""

    steps: tuple[int, ...]
    sampling_rates: tuple[float, ...]
    learning_rates: tuple[float, ...]
    clips: tuple[float, ...]
    local_steps: tuple[int, ...] = (1,)

    def recipes(self) -> Iterator[Recipe]:
        """Every combination."""
        axes = product(self.steps, self.sampling_rates, self.learning_rates, self.clips, self.local_steps)
        for steps, rate, learning_rate, clip, local_steps in axes:
            yield Recipe(steps, rate, learning_rate, local_steps, clip=clip)


_TABLES: Final = Grid((20, 60), (1.0,), (0.1, 0.3, 1.0), (0.3, 1.0))
_TABLES_LOCAL: Final = Grid((60,), (0.3,), (0.1, 0.3, 1.0), (0.3, 1.0), (1, 5))
_ULTRASOUND: Final = Grid((40,), (0.3,), (0.1, 0.3, 1.0), (0.5,))
_ULTRASOUND_LOCAL: Final = Grid((40,), (0.3,), (0.1, 0.3), (0.5,), (1, 5))
_OPEN: Final = Grid((100,), (0.3,), (0.003, 0.01, 0.03, 0.1), (1.0,))
_OPEN_FEDERATED: Final = msgspec.structs.replace(_OPEN, local_steps=(5,))
# Hospitals with a hundred patients each: few steps on many of them, and many steps on few.
_X_RAYS: Final = (
    *Grid((60,), (0.3,), (0.1, 0.3, 1.0), (0.5,)).recipes(),
    *Grid((60,), (0.3,), (0.1,), (0.5,), (5,)).recipes(),
    *Grid((300,), (0.05,), (0.1,), (1.0,), (1, 5)).recipes(),
)


def grid(study: Study, mode: Mode, regime: Regime) -> Sequence[Recipe]:
    """What is tried; nothing where the mode has no such regime, or the study's loss does not allow it."""
    if regime not in study.regimes or regime not in _REGIMES.get(mode, study.regimes):
        return ()
    if study.name == "pneumoniamnist":
        return _X_RAYS if mode == "local" else ()
    images = study.name == "breastmnist"
    match mode, regime:
        case "federated", _:
            grid = _OPEN_FEDERATED
        case _, "open":
            grid = _OPEN
        case "local", _:
            grid = _ULTRASOUND_LOCAL if images else _TABLES_LOCAL
        case _:
            grid = _ULTRASOUND if images else _TABLES
    return list(grid.recipes())


def tried(ground: Ground, mode: Mode, epsilon: float | None, seed: int, recipe: Recipe) -> Scores:
    """What a recipe is worth on the validation patients."""
    match mode:
        case "pooled":
            modules = [in_one_place(ground, ground.pooled, epsilon, recipe, seed)]
        case "alone":
            modules = [in_one_place(ground, held.train, epsilon, recipe, seed) for held in ground.hospitals]
        case _:
            modules = [_averaged(ground, mode, epsilon, seed, recipe)]
    assert ground.validation is not None  # `Ground.keeping_back` has made some.
    validation = ground.scaled(ground.validation)
    return mean_scores([measured(ground.task, module, validation) for module in modules])


def _averaged(ground: Ground, mode: Mode, epsilon: float | None, seed: int, recipe: Recipe) -> nn.Module:
    """What the hospitals' updates come to, with nothing encoded or masked in between."""
    charter = ground.charter(choices(ground, mode, epsilon, recipe))
    training = charter.training
    works, weights = [], []
    for number, held in enumerate(ground.hospitals):
        generator = np.random.default_rng((seed, number)) if epsilon is None else secure_generator()
        works.append(LocalWork(charter, ground.task, ground.scaled(held.train), None, CPU, generator))
        weights.append(held.train.patient_count if training.weighting == "records" else 1)
    module = ground.task.build_model()
    model = flatten(module)
    state = initial_state(len(model))
    for step in range(1, training.rounds + 1):
        updates = [work.contribute(model, step).update for work in works]
        mean = np.average(updates, axis=0, weights=weights)
        state, model = apply(training.server, state, model, mean, training.rounds)
    load(module, model)
    return module


def worth(scores: Sequence[Scores]) -> float:
    """By what recipes are compared: the c-index, or the mean of accuracy and AUC."""
    values = []
    for found in scores:
        measures = [value for value in (found.c_index, found.accuracy, found.auc) if value is not None]
        values.append(fmean(measures))
    return fmean(values)


class Search:
    """The search for one study's recipes, every trial of which is kept in a file."""

    def __init__(self, study: Study, data: Path, out: Path) -> None:
        out.mkdir(parents=True, exist_ok=True)
        self._study = study
        self._log = out / f"{study.name}.jsonl"
        self._grounds = {
            seed: Ground(study, study.places(data, out, seed)).keeping_back(_KEPT_BACK, seed) for seed in SEEDS
        }

    def best(self, mode: Mode, regime: Regime) -> tuple[Recipe, float] | None:
        """The best recipe and what it is worth; None where nothing is to be tried."""
        recipes = list(grid(self._study, mode, regime))
        if not recipes:
            return None
        found = {recipe: [self._try(mode, regime, SEEDS[0], recipe)] for recipe in recipes}
        again = () if self._study.name in _ONCE else SEEDS[1:]
        finalists = sorted(recipes, key=lambda recipe: worth(found[recipe]), reverse=True)[:_FINALISTS]
        for recipe in finalists:
            found[recipe] += [self._try(mode, regime, seed, recipe) for seed in again]
        winner = max(finalists, key=lambda recipe: worth(found[recipe]))
        return winner, worth(found[winner])

    def _try(self, mode: Mode, regime: Regime, seed: int, recipe: Recipe) -> Scores:
        scores = tried(self._grounds[seed], mode, CHOSEN_AT[regime], seed, recipe)
        trial = Trial(self._study.name, mode, regime, seed, recipe, scores)
        with self._log.open("ab") as file:
            file.write(msgspec.json.encode(trial) + b"\n")
        return scores


@click.command(help=__doc__)
@click.option("--data", type=click.Path(path_type=Path), help="Folder of public data; SECAGG_DATA if not given.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), required=True)
@click.option("--study", "names", multiple=True, type=click.Choice([study.name for study in STUDIES]), required=True)
@click.option("--mode", "modes", multiple=True, type=click.Choice(CHOOSING), default=CHOOSING)
@click.option("--regime", "regimes", multiple=True, type=click.Choice(REGIMES), default=REGIMES)
def choose(
    data: Path | None, out: Path, names: tuple[str, ...], modes: tuple[Mode, ...], regimes: tuple[Regime, ...]
) -> None:
    torch.set_num_threads(1)
    folder = data or Path(os.environ.get("SECAGG_DATA", "../shared/data"))
    for name in names:
        search = Search(named(name), folder, out)
        for mode, regime in product(modes, regimes):
            found = search.best(mode, regime)
            if found:
                click.echo(f"{name}, {mode}, {regime}: {found[1]:.3f} by {found[0]}")


if __name__ == "__main__":
    choose()
