"""Scaling features the same way at every hospital, with nobody's own mean or variance shown.

This module knows the arithmetic on both sides of two secure sums, and scaling by bounds agreed in advance. It does
not know how sums are protected. All columns are treated alike, one-hot columns too: one rule, and FLamby's.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from secagg.errors import InputError
from training.records import Records
from training.tasks.spec import DataSpec

Vector = npt.NDArray[np.float64]

# A fixed-point sum leaves a constant column with a tiny spread instead of none.
_SMALLEST_RELATIVE_STD = 1e-6


@dataclass(frozen=True, eq=False)
class Standardiser:
    """x -> (x - mean) / std, with float64 (d,) ``mean`` and ``std``."""

    mean: Vector
    std: Vector

    def apply(self, records: Records) -> Records:
        """The same records, scaled in float64 and stored as float32."""
        return _with_features(records, (_table(records) - self.mean) / self.std)


@dataclass(frozen=True, eq=False)
class BoundsScaler:
    """x -> -1..1 between agreed float64 (d,) ``low`` and ``high``; what lies outside is clipped to the bounds."""

    low: Vector
    high: Vector

    def apply(self, records: Records) -> Records:
        """The same records, scaled in float64 and stored as float32."""
        clipped = np.clip(_table(records), self.low, self.high)
        return _with_features(records, 2.0 * (clipped - self.low) / (self.high - self.low) - 1.0)


def first_moments(records: Records, weight: float) -> Vector:
    """A hospital's share of the first sum: float64 (1 + d,), ``[weight, weight * mean of each column]``."""
    return weight * np.concatenate([[1.0], _table(records).mean(axis=0)])


def second_moments(records: Records, weight: float, mean: Vector) -> Vector:
    """A hospital's share of the second sum: ``[weight, weight * mean((x - mean)^2) of each column]``, float64 (1 + d,).

    ``mean`` is the consortium's mean, from the first sum.
    """
    return weight * np.concatenate([[1.0], np.square(_table(records) - mean).mean(axis=0)])


def mean_from_sum(first_sum: Vector) -> Vector:
    """The consortium's mean, float64 (d,), from the sum of all `first_moments`.

    Raises:
        InputError: ``no-weight`` when the weights sum to nothing.
    """
    return np.asarray(first_sum[1:] / _total_weight(first_sum), dtype=np.float64)


def standardiser_from_sums(first_sum: Vector, second_sum: Vector) -> Standardiser:
    """The scaling that both sums amount to. A column that does not vary is centred and left unscaled.

    The two passes may have had different survivors: each is divided by its own weight.
    """
    mean = mean_from_sum(first_sum)
    variance = second_sum[1:] / _total_weight(second_sum)
    std = np.sqrt(np.maximum(variance, 0.0))
    constant = std <= _SMALLEST_RELATIVE_STD * np.maximum(1.0, np.abs(mean))
    return Standardiser(mean, np.where(constant, 1.0, std))


def bounds_scaler(data: DataSpec) -> BoundsScaler:
    """The scaling by the task's own bounds; a one-hot column lies between 0 and 1.

    Raises:
        InputError: ``missing-bounds``, naming the column.
    """
    bounds: list[tuple[float, float]] = []
    for column in data.features:
        levels = data.categorical.get(column)
        if levels is not None:
            bounds.extend([(0.0, 1.0)] * (len(levels) - 1))
        elif column in data.bounds:
            bounds.append(data.bounds[column])
        else:
            message = f"The task has no bounds for the column {column!r}."
            raise InputError("missing-bounds", message, culprit=column, remedy="Add it to data.bounds.")
    low, high = np.array(bounds, dtype=np.float64).reshape(-1, 2).T
    return BoundsScaler(low, high)


def _table(records: Records) -> Vector:
    if records.features.ndim != 2:
        message = f"{records.source} does not hold a table; only columns can be standardised."
        raise InputError("not-a-table", message, culprit=records.source, remedy="Set standardise = 'none'.")
    return records.features.astype(np.float64)


def _with_features(records: Records, features: Vector) -> Records:
    scaled = features.astype(np.float32)
    return replace(records, features=scaled)


def _total_weight(sums: Vector) -> float:
    weight = float(sums[0])
    if not weight > 0.0:
        message = f"The hospitals' weights sum to {weight:g}."
        raise InputError("no-weight", message, remedy="At least one hospital must have weight above 0.")
    return weight
