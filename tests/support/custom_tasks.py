"""Tasks of somebody's own, of which a charter holds a name and settings only."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from training.records import Records
from training.task import TaskSpec
from training.tasks.images import ImageTask
from training.tasks.models import class_scores, classification_loss

LEADS, SAMPLES = 2, 12


@dataclass(frozen=True)
class SeriesTask:
    """Signals of two leads, one file of float32 (n, 2, 12) a hospital; every other patient is ill."""

    spec: TaskSpec

    def read(self, path: Path) -> Records:
        """One signal a patient."""
        signals = np.load(path)
        count = np.arange(len(signals), dtype=np.int64)
        return Records(signals, count % 2, count, (), str(path))

    def build_model(self) -> nn.Module:
        """The same parameters wherever it is built."""
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(self.spec.model.seed)
            return nn.Sequential(nn.Conv1d(LEADS, 3, 5), nn.Flatten(), nn.Linear(3 * (SAMPLES - 4), 1))

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Mean cross-entropy."""
        return classification_loss(outputs, labels)

    def scores(self, outputs: Tensor) -> Tensor:
        """Probabilities (n, 2)."""
        return class_scores(outputs)


def series(spec: TaskSpec) -> SeriesTask:
    """For ``kind = "tests.support.custom_tasks:series"``."""
    return SeriesTask(spec)


def images(spec: TaskSpec) -> ImageTask:
    """For ``kind = "tests.support.custom_tasks:images"``."""
    return ImageTask(spec)


@dataclass(frozen=True)
class FromOneTask(SeriesTask):
    """Counts classes from 1."""

    def read(self, path: Path) -> Records:
        """Labels 1 and 2."""
        records = super().read(path)
        return replace(records, labels=records.labels + 1)


@dataclass(frozen=True)
class FlippedTask(SeriesTask):
    """Reads signals, and labels, from their ends."""

    def read(self, path: Path) -> Records:
        """Views that run backwards."""
        records = super().read(path)
        return replace(records, features=records.features[:, :, ::-1], labels=records.labels[::-1])


def flipped(spec: TaskSpec) -> FlippedTask:
    """For ``kind = "tests.support.custom_tasks:flipped"``."""
    return FlippedTask(spec)


@dataclass(frozen=True)
class LogitsTask(SeriesTask):
    """Forgets the softmax, as most often happens."""

    def scores(self, outputs: Tensor) -> Tensor:
        """No probabilities, (n, 2)."""
        return torch.cat([-outputs, outputs], dim=1)


@dataclass(frozen=True)
class QuotingTask(SeriesTask):
    """Looks a signal's lead up by a name that a file does not have, and quotes what there is."""

    def read(self, path: Path) -> Records:
        """None: it fails."""
        raise KeyError(f"no lead II beside {super().read(path).features.flat[0]}")


@dataclass(frozen=True)
class OneColumnTask(SeriesTask):
    """Gives the probability of illness alone."""

    def scores(self, outputs: Tensor) -> Tensor:
        """(n, 1)."""
        return outputs.sigmoid()


@dataclass(frozen=True)
class UnseededTask(SeriesTask):
    """Draws its first model anew each time."""

    def build_model(self) -> nn.Module:
        """Other parameters each time."""
        return nn.Sequential(nn.Conv1d(LEADS, 3, 5), nn.Flatten(), nn.Linear(3 * (SAMPLES - 4), 1))


@dataclass(frozen=True)
class SameModuleTask(SeriesTask):
    """Builds its model once and keeps it."""

    kept: list[nn.Module] = field(default_factory=list)

    def build_model(self) -> nn.Module:
        """The same module each time."""
        if not self.kept:
            self.kept.append(super().build_model())
        return self.kept[0]


@dataclass(frozen=True)
class UnsetTask(SeriesTask):
    """Forgets to set a parameter, in whose memory anything may be."""

    def build_model(self) -> nn.Module:
        """NaN, as it may happen."""
        model = super().build_model()
        nn.init.constant_(next(model.parameters()), float("nan"))
        return model


@lru_cache
def _cached_positions(shape: torch.Size) -> Tensor:
    return torch.cos(torch.arange(shape[-1]) / 3.0).expand(shape)


class _Positions(nn.Module):
    """Multiplies by factors that are kept outside of any module for each shape of rows, as encodings of positions."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv1d(LEADS, LEADS, 1)
        self.last = nn.Linear(LEADS * SAMPLES, 1)

    def forward(self, rows: Tensor) -> Tensor:
        return self.last((self.first(rows) * _cached_positions(rows.shape)).flatten(1))


@dataclass(frozen=True)
class PositionsTask(SeriesTask):
    """Its model keeps what it computed for the first rows that it met, beyond its own life."""

    def build_model(self) -> nn.Module:
        """The same parameters wherever it is built."""
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(self.spec.model.seed)
            return _Positions()


@dataclass(frozen=True)
class WrongWidthTask(SeriesTask):
    """Its last layer takes one input less than the one before gives."""

    def build_model(self) -> nn.Module:
        """The same parameters wherever it is built."""
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(self.spec.model.seed)
            return nn.Sequential(nn.Flatten(), nn.Linear(LEADS * SAMPLES - 1, 1))


class _NoEmptySignal(nn.Module):
    """As a model of packed sequences refuses one of length 0."""

    def __init__(self, fault: Exception, least: float) -> None:
        super().__init__()
        self.last = nn.Linear(LEADS * SAMPLES, 1)
        self._fault, self._least = fault, least

    def forward(self, rows: Tensor) -> Tensor:
        if rows.flatten(1).norm(dim=1).min() <= self._least:
            raise self._fault
        return self.last(rows.flatten(1))


@dataclass(frozen=True)
class NoEmptySignalTask(SeriesTask):
    """Its model has a rule that a row of zeros breaks and no patient's does."""

    fault: Exception
    least: float = 0.0

    def build_model(self) -> nn.Module:
        """The same parameters wherever it is built."""
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(self.spec.model.seed)
            return _NoEmptySignal(self.fault, self.least)


@dataclass(frozen=True)
class ArrayTask(SeriesTask):
    """Gives NumPy's numbers for torch's."""

    def scores(self, outputs: Tensor) -> Any:
        """Probabilities (n, 2)."""
        return class_scores(outputs).numpy()


@dataclass(frozen=True)
class TransposedTask(SeriesTask):
    """Gives a row for each class."""

    def scores(self, outputs: Tensor) -> Tensor:
        """(2, n)."""
        return class_scores(outputs).T


@dataclass(frozen=True)
class AcrossRowsTask(SeriesTask):
    """Takes the softmax over rows, a slip of one digit."""

    def scores(self, outputs: Tensor) -> Tensor:
        """Columns with the sum 1, (n, 2)."""
        return torch.cat([-outputs, outputs], dim=1).softmax(dim=0)


@dataclass(frozen=True)
class AboveMeanTask(SeriesTask):
    """Compares each row with the mean of its batch."""

    def scores(self, outputs: Tensor) -> Tensor:
        """Probabilities (n, 2), of which no row's are its own."""
        return super().scores(outputs - outputs.mean())


@dataclass(frozen=True)
class SqueezedTask(SeriesTask):
    """Takes away every dimension of length 1: also that of rows, of a single one."""

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Mean cross-entropy."""
        return super().loss(outputs.squeeze()[:, None], labels)

    def scores(self, outputs: Tensor) -> Tensor:
        """Probabilities (n, 2)."""
        risk = outputs.squeeze().sigmoid()
        return torch.stack([1 - risk, risk], dim=1)


@dataclass(frozen=True)
class NoMeanTask(SeriesTask):
    """Forgets to take the mean."""

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """One of each row, (n,)."""
        return functional.binary_cross_entropy_with_logits(outputs[:, 0], labels.float(), reduction="none")


@dataclass(frozen=True)
class ColumnLossTask(SeriesTask):
    """Compares outputs of shape (n, 1) with labels of shape (n,)."""

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """None: torch refuses it."""
        return functional.binary_cross_entropy_with_logits(outputs, labels.float())


@dataclass(frozen=True)
class NumberLossTask(SeriesTask):
    """Takes the loss out of torch."""

    def loss(self, outputs: Tensor, labels: Tensor) -> Any:
        """A float."""
        return super().loss(outputs, labels).item()


class _Recurrent(nn.Module):
    """Adds what it had in the middle for the rows before."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(LEADS * SAMPLES, 4), nn.Linear(4, 1)
        self._before: Tensor | None = None

    def forward(self, rows: Tensor) -> Tensor:
        middle = torch.tanh(self.first(rows.flatten(1)))
        if self._before is not None and self._before.shape == middle.shape:
            middle = middle + self._before
        self._before = middle
        return self.last(middle)


@dataclass(frozen=True)
class RecurrentTask(SeriesTask):
    """Its model keeps a part of a batch, with all that it was computed from, for the next."""

    def build_model(self) -> nn.Module:
        """The same parameters wherever it is built."""
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(self.spec.model.seed)
            return _Recurrent()


@dataclass(frozen=True)
class TwoColumnsTask(SeriesTask):
    """A table of two columns, one file of float32 (n, 2) a hospital."""

    names: tuple[str, ...] = ("age", "dose")

    def read(self, path: Path) -> Records:
        """One row a patient."""
        table = np.load(path)
        count = np.arange(len(table), dtype=np.int64)
        return Records(table, count % 2, count, self.names, str(path))

    def build_model(self) -> nn.Module:
        """The same parameters wherever it is built."""
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(self.spec.model.seed)
            return nn.Linear(2, 1)


def two_columns(spec: TaskSpec) -> TwoColumnsTask:
    """For ``kind = "tests.support.custom_tasks:two_columns"``."""
    return TwoColumnsTask(spec)


def two_columns_without_names(spec: TaskSpec) -> TwoColumnsTask:
    """For ``kind = "tests.support.custom_tasks:two_columns_without_names"``."""
    return TwoColumnsTask(spec, ())


@dataclass(frozen=True)
class NamedLayerTask(SeriesTask):
    """Has a layer of its own that is called as the tensors of scaling are in a release."""

    def build_model(self) -> nn.Module:
        """The same parameters wherever it is built."""
        model = super().build_model()
        return nn.Sequential(OrderedDict(standardisation=model[0], flat=model[1], last=model[2]))


def named_layer(spec: TaskSpec) -> NamedLayerTask:
    """For ``kind = "tests.support.custom_tasks:named_layer"``."""
    return NamedLayerTask(spec)


def from_one(spec: TaskSpec) -> FromOneTask:
    """For ``kind = "tests.support.custom_tasks:from_one"``."""
    return FromOneTask(spec)


def logits(spec: TaskSpec) -> LogitsTask:
    """For ``kind = "tests.support.custom_tasks:logits"``."""
    return LogitsTask(spec)


def one_column(spec: TaskSpec) -> OneColumnTask:
    """For ``kind = "tests.support.custom_tasks:one_column"``."""
    return OneColumnTask(spec)


def unseeded(spec: TaskSpec) -> UnseededTask:
    """For ``kind = "tests.support.custom_tasks:unseeded"``."""
    return UnseededTask(spec)


def unset(spec: TaskSpec) -> UnsetTask:
    """For ``kind = "tests.support.custom_tasks:unset"``."""
    return UnsetTask(spec)


def same_module(spec: TaskSpec) -> SameModuleTask:
    """For ``kind = "tests.support.custom_tasks:same_module"``."""
    return SameModuleTask(spec)


def positions(spec: TaskSpec) -> PositionsTask:
    """For ``kind = "tests.support.custom_tasks:positions"``. As in a new process, nothing has been kept yet."""
    _cached_positions.cache_clear()
    return PositionsTask(spec)


def wrong_width(spec: TaskSpec) -> WrongWidthTask:
    """For ``kind = "tests.support.custom_tasks:wrong_width"``."""
    return WrongWidthTask(spec)


def no_empty_signal(spec: TaskSpec) -> NoEmptySignalTask:
    """For ``kind = "tests.support.custom_tasks:no_empty_signal"``."""
    return NoEmptySignalTask(spec, KeyError("length 0"))


def no_signal(spec: TaskSpec) -> NoEmptySignalTask:
    """For ``kind = "tests.support.custom_tasks:no_signal"``: every patient's row breaks the rule, too."""
    return NoEmptySignalTask(spec, AssertionError("a row of zeros"), least=1e6)


def array(spec: TaskSpec) -> ArrayTask:
    """For ``kind = "tests.support.custom_tasks:array"``."""
    return ArrayTask(spec)


def transposed(spec: TaskSpec) -> TransposedTask:
    """For ``kind = "tests.support.custom_tasks:transposed"``."""
    return TransposedTask(spec)


def across_rows(spec: TaskSpec) -> AcrossRowsTask:
    """For ``kind = "tests.support.custom_tasks:across_rows"``."""
    return AcrossRowsTask(spec)


def above_mean(spec: TaskSpec) -> AboveMeanTask:
    """For ``kind = "tests.support.custom_tasks:above_mean"``."""
    return AboveMeanTask(spec)


def no_mean(spec: TaskSpec) -> NoMeanTask:
    """For ``kind = "tests.support.custom_tasks:no_mean"``."""
    return NoMeanTask(spec)


def column_loss(spec: TaskSpec) -> ColumnLossTask:
    """For ``kind = "tests.support.custom_tasks:column_loss"``."""
    return ColumnLossTask(spec)


def number_loss(spec: TaskSpec) -> NumberLossTask:
    """For ``kind = "tests.support.custom_tasks:number_loss"``."""
    return NumberLossTask(spec)


def recurrent(spec: TaskSpec) -> RecurrentTask:
    """For ``kind = "tests.support.custom_tasks:recurrent"``."""
    return RecurrentTask(spec)


def squeezed(spec: TaskSpec) -> SqueezedTask:
    """For ``kind = "tests.support.custom_tasks:squeezed"``."""
    return SqueezedTask(spec)


def quoting(spec: TaskSpec) -> QuotingTask:
    """For ``kind = "tests.support.custom_tasks:quoting"``."""
    return QuotingTask(spec)
