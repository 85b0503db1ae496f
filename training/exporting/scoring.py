"""A released model as one function: from features as a task reads them to probabilities.

Knows scaling and a task's scores. What a hospital did to its records before its model saw them is inside, in the same
arithmetic.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from training.standardisation import bounds_scaler
from training.task import Task


class Scoring(nn.Module):
    """Features float32 (n, ...) to probabilities (n, classes).

    Args:
        model: takes scaled features.
        tensors: of the release; the mean and spread of columns are among them where they were summed.
    """

    def __init__(self, task: Task, model: nn.Module, tensors: Mapping[str, np.ndarray]) -> None:
        super().__init__()
        self.model = model
        self.scale = _scale(task, tensors)
        self._task = task
        self.requires_grad_(requires_grad=False).eval()

    def forward(self, features: Tensor) -> Tensor:
        """Probabilities."""
        return self._task.scores(self.model(self.scale(features)))

    def probe(self, shape: tuple[int, ...], rows: int, lowest: float = -1.0) -> Tensor:
        """Features float32 (rows, *shape) to try the model with, the same every time.

        Where columns are scaled they are spread over the bounds, or two standard deviations to each side of the mean;
        otherwise from -1 to 1, as pixels are, for nobody here knows better. With ``lowest`` 0 over the upper half.
        """
        spread = np.random.default_rng(rows).uniform(lowest, 1.0, (rows, *shape))
        return self.scale.undone(torch.from_numpy(spread)).float()


class _AsTheyAre(nn.Module):
    def forward(self, features: Tensor) -> Tensor:
        return features

    def undone(self, spread: Tensor) -> Tensor:
        return spread


class _Standardise(nn.Module):
    def __init__(self, mean: np.ndarray, std: np.ndarray) -> None:
        super().__init__()
        self.register_buffer("mean", torch.from_numpy(mean.astype(np.float64)))
        self.register_buffer("std", torch.from_numpy(std.astype(np.float64)))

    def forward(self, features: Tensor) -> Tensor:
        mean, std = cast(Tensor, self.mean), cast(Tensor, self.std)
        return ((features.double() - mean) / std).float()

    def undone(self, spread: Tensor) -> Tensor:
        mean, std = cast(Tensor, self.mean), cast(Tensor, self.std)
        # A column that did not vary has an infinite one.
        return mean + 2.0 * spread * torch.where(std.isfinite(), std, torch.ones_like(std))


class _Bound(nn.Module):
    def __init__(self, low: np.ndarray, high: np.ndarray) -> None:
        super().__init__()
        self.register_buffer("low", torch.from_numpy(low))
        self.register_buffer("high", torch.from_numpy(high))

    def forward(self, features: Tensor) -> Tensor:
        low, high = cast(Tensor, self.low), cast(Tensor, self.high)
        clipped = torch.minimum(torch.maximum(features.double(), low), high)
        return (2.0 * (clipped - low) / (high - low) - 1.0).float()

    def undone(self, spread: Tensor) -> Tensor:
        low, high = cast(Tensor, self.low), cast(Tensor, self.high)
        return low + (high - low) * (1.0 + spread) / 2.0


def _scale(task: Task, tensors: Mapping[str, np.ndarray]) -> _AsTheyAre | _Standardise | _Bound:
    match task.spec.data.standardise:
        case "secure-sum":
            return _Standardise(tensors["standardisation.mean"], tensors["standardisation.std"])
        case "bounds":
            scaler = bounds_scaler(task.spec.data)
            return _Bound(scaler.low, scaler.high)
        case "none":
            return _AsTheyAre()
