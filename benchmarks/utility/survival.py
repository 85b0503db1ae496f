"""Survival as a task: who is at more risk, learned from patients most of whom are still alive.

Cox's partial likelihood compares each patient with all who were at risk at the same time: no patient has a loss of its
own, so no gradient can be clipped. The discrete-time Cox model does (Andreux et al. 2020, arXiv:2006.08997, on these
data): in each interval that a patient begins, the patient dies or does not, with log-odds of a baseline of the interval
plus one risk of the patient. As intervals shrink it is Cox's model. `discrete` is that; `partial` is Cox's own, with
Breslow's rule for ties, and can only be trained without differential privacy.

A label is 2 * days + 1 if the patient died on that day, 2 * days if nothing is known after it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from training.readers import read_table
from training.records import Records
from training.tasks.spec import TaskSpec, input_names
from training.tasks.tabular import TabularTask

DAYS: Final = "days"
# In years, and so named before anybody looked: one more interval after the last.
_ENDS: Final = (365.25, 730.5, 1095.75, 1461.0, 1826.25, 2556.75, 3652.5)
# What a year costs in breast cancer, roughly: about one in thirty. Training corrects it.
_BASELINE: Final = -3.4
_FIVE_YEARS: Final = 5


class Risk(nn.Module):
    """Log-odds (n, intervals) of dying in each interval: a baseline of the interval and a risk of the patient."""

    def __init__(self, inputs: int, intervals: int) -> None:
        super().__init__()
        self.risk = nn.Linear(inputs, 1, bias=False)
        # A layer, and no bare parameter: of a layer it is known how to take each patient's gradient.
        self.baseline = nn.Linear(1, intervals, bias=False)
        nn.init.zeros_(self.risk.weight)
        nn.init.constant_(self.baseline.weight, _BASELINE)

    def forward(self, features: Tensor) -> Tensor:
        """Features float32 (n, inputs)."""
        hazards: Tensor = self.baseline(torch.ones_like(features[:, :1])) + self.risk(features)
        return hazards


@dataclass(frozen=True)
class _Survival:
    """What both tasks share: a table with an event, a number of days, and inputs of which all are features."""

    spec: TaskSpec

    def read(self, path: Path) -> Records:
        """As `TabularTask`, with labels of this module."""
        events = TabularTask(self.spec).read(path)
        table = read_table(path, self.spec.data.columns)
        place = table.position(DAYS)
        days = np.array([int(float(row[place])) for row in table.rows], dtype=np.int64)
        return replace(events, labels=2 * days + events.labels)

    def _inputs(self) -> int:
        return len(input_names(self.spec.data))


@dataclass(frozen=True)
class DiscreteTime(_Survival):
    """The discrete-time Cox model: each patient has a loss of its own."""

    def build_model(self) -> nn.Module:
        """All risks alike at the start."""
        return Risk(self._inputs(), len(_ENDS) + 1)

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Minus the mean log-likelihood of (n, intervals) log-odds: survived intervals, and that of the death."""
        days, died = labels // 2, (labels % 2).to(outputs.dtype)
        last = torch.bucketize(days.to(outputs.dtype), torch.tensor(_ENDS, dtype=outputs.dtype))
        place = torch.arange(outputs.shape[1])
        survived = (place < last[:, None]).to(outputs.dtype)
        deaths = (place == last[:, None]).to(outputs.dtype) * died[:, None]
        return (functional.softplus(outputs) * survived + functional.softplus(-outputs) * deaths).sum(dim=1).mean()

    def scores(self, outputs: Tensor) -> Tensor:
        """Probabilities (n, 2) of being alive and dead after five years: in the order of risk."""
        alive = torch.exp(-functional.softplus(outputs[:, :_FIVE_YEARS]).sum(dim=1))
        return torch.stack([alive, 1 - alive], dim=1)


@dataclass(frozen=True)
class PartialLikelihood(_Survival):
    """Cox's model, trained on batches as if each were a study of its own. Not for differential privacy."""

    def build_model(self) -> nn.Module:
        """All risks alike at the start."""
        model = nn.Linear(self._inputs(), 1, bias=False)
        nn.init.zeros_(model.weight)
        return model

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Minus the log of Cox's partial likelihood for risks (n, 1), over the number of deaths."""
        days, died, risks = labels // 2, (labels % 2).to(outputs.dtype), outputs[:, 0]
        at_risk = days[None, :] >= days[:, None]
        largest = risks.max()
        everybody = largest + torch.log((torch.exp(risks - largest)[None, :] * at_risk).sum(dim=1))
        return ((everybody - risks) * died).sum() / died.sum().clamp(min=1)

    def scores(self, outputs: Tensor) -> Tensor:
        """(n, 2) in the order of risk, from 0 to 1; no probabilities."""
        return torch.cat([torch.sigmoid(-outputs), torch.sigmoid(outputs)], dim=1)


def discrete(spec: TaskSpec) -> DiscreteTime:
    """What ``kind = "benchmarks.utility.survival:discrete"`` calls."""
    return DiscreteTime(spec)


def partial(spec: TaskSpec) -> PartialLikelihood:
    """What ``kind = "benchmarks.utility.survival:partial"`` calls."""
    return PartialLikelihood(spec)


def concordance(labels: npt.NDArray[np.int64], risks: npt.NDArray[np.float64]) -> float | None:
    """Harrell's c-index: of all pairs of which one surely died first, in how many that one has the higher risk.

    Equal risks count half. A death and an end of observation on the same day are a pair, as in lifelines and FLamby.

    Args:
        labels: int64 (n,), as of this module.
        risks: float64 (n,).
    """
    days, died = labels // 2, labels % 2 == 1
    sooner = (days[:, None] < days[None, :]) | ((days[:, None] == days[None, :]) & ~died[None, :])
    pairs = sooner & died[:, None]
    np.fill_diagonal(pairs, val=False)
    right = (risks[:, None] > risks[None, :]) + 0.5 * (risks[:, None] == risks[None, :])
    return float((right * pairs).sum() / pairs.sum()) if pairs.any() else None
