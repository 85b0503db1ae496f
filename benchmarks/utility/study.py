"""What is measured: data sets, who trains on them and how, and what one training comes to. Only values, no training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import msgspec

from training.sites import DataSource

Mode = Literal["pooled", "distributed", "local", "federated", "alone"]
MODES: Final[tuple[Mode, ...]] = ("pooled", "distributed", "local", "federated", "alone")
# Through the whole protocol, with every hospital's keys, latch and ledger; the others train in one place.
PROTOCOL: Final[frozenset[Mode]] = frozenset({"distributed", "local", "federated"})
EPSILONS: Final = (0.5, 1.0, 2.0, 3.0, 5.0, 8.0)
# Up to here privacy is strict: fewer steps or smaller ones are better, and recipes are chosen apart.
STRICT: Final = 1.0
DELTA: Final = 1e-5

Regime = Literal["strict", "loose", "open"]
REGIMES: Final[tuple[Regime, ...]] = ("strict", "loose", "open")


def regime(epsilon: float | None) -> Regime:
    """For which of three amounts of noise a recipe was chosen; ``open``: none at all."""
    if epsilon is None:
        return "open"
    return "strict" if epsilon <= STRICT else "loose"


class Recipe(msgspec.Struct, frozen=True):
    """How a mode trains.

    Attributes:
        steps: of the optimizer, in all; ``local_steps`` of them between two sums.
        sampling_rate: what part of its patients is expected in a step.
        learning_rate: the highest; under privacy it rises over a thirtieth of the rounds and falls with a cosine.
        momentum: of the mean update where there is privacy, of each hospital's own SGD where there is none.
        clip: the most that one patient's gradient weighs, L2.
    """

    steps: int
    sampling_rate: float
    learning_rate: float
    local_steps: int = 1
    momentum: float = 0.9
    clip: float = 1.0

    @property
    def rounds(self) -> int:
        """How many sums."""
        return max(1, self.steps // self.local_steps)


class Scores(msgspec.Struct, frozen=True):
    """How good a model is on some patients; None where a measure is not the data set's."""

    patients: int
    accuracy: float | None = None
    auc: float | None = None
    c_index: float | None = None


class Cost(msgspec.Struct, frozen=True):
    """What one training took.

    Attributes:
        cpu_seconds: of all parties together, who share one process.
        sent, received: bytes, the mean over hospitals; 0 where nothing travels.
        spent: epsilon of the patient who spent most, as the hospitals' ledgers say or, in one place, the accountant.
    """

    cpu_seconds: float
    sent: int = 0
    received: int = 0
    spent: float | None = None


class Cell(msgspec.Struct, frozen=True):
    """One training, measured. ``test`` of ``alone`` is the mean over hospitals of what their models are worth."""

    study: str
    mode: Mode
    epsilon: float | None
    seed: int
    recipe: Recipe
    hospitals: int
    validation: Scores | None
    test: Scores
    cost: Cost

    @property
    def key(self) -> tuple[str, Mode, float | None, int]:
        """What tells one cell from another."""
        return self.study, self.mode, self.epsilon, self.seed


@dataclass(frozen=True)
class Places:
    """Where a study's records are. ``validation`` and ``test``: as `training.task.Task.read` takes them; if None,
    nobody is validated on, and tested is on the patients that hospitals keep back."""

    source: DataSource
    validation: str | None = None
    test: str | None = None


@dataclass(frozen=True)
class Published:
    """A figure of somebody else, on the same data: not made by this command."""

    who: str
    epsilon: float | None
    measure: str
    value: float
    source: str


@dataclass(frozen=True)
class Study:
    """One data set and how it is trained on.

    Attributes:
        places: from the folder of public data, one to write tables into, and a seed.
        recipes: for each mode and regime that is measured.
        measures: which of `Scores` are shown, the main one first.
        regimes: for which its loss can be trained; one that couples patients only without privacy.
        noise_levels: of the charter under ``distributed``; chosen by `training.privacy_draft` if None.
    """

    name: str
    title: str
    task: Path
    places: Callable[[Path, Path, int], Places]
    recipes: Mapping[tuple[Mode, Regime], Recipe]
    measures: tuple[str, ...]
    seeds: int
    regimes: tuple[Regime, ...] = REGIMES
    noise_levels: tuple[int, ...] | None = None
    published: tuple[Published, ...] = ()

    def recipe(self, mode: Mode, epsilon: float | None) -> Recipe | None:
        """How ``mode`` trains at this epsilon; None if it is not measured."""
        return self.recipes.get((mode, regime(epsilon)))
