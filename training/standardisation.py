"""Scaling features the same way at every hospital, with nobody's own mean or variance shown.

This module knows the arithmetic on both sides of a secure sum, and scaling by bounds agreed in advance. It does not
know how sums are encoded or protected. All columns are treated alike, one-hot columns too: one rule, and FLamby's.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from secagg.errors import InputError
from training.records import Records
from training.tasks.spec import DataSpec

Vector = npt.NDArray[np.float64]

# Rounding leaves a constant column with a tiny spread instead of none: so much of the root of its mean square.
_SMALLEST_RELATIVE_STD = 1e-6


@dataclass(frozen=True, eq=False)
class Moments:
    """Of each column the mean and the variance, float64 (d,): of one hospital's records, or of all hospitals'."""

    mean: Vector
    variance: Vector


@dataclass(frozen=True, eq=False)
class Standardiser:
    """x -> (x - mean) / std, with float64 (d,) ``mean`` and ``std``; any number becomes 0 where ``std`` is infinite."""

    mean: Vector
    std: Vector

    @property
    def constant(self) -> npt.NDArray[np.bool_]:
        """Which columns say nothing, since they did not vary: (d,)."""
        return np.isinf(self.std)

    def apply(self, records: Records) -> Records:
        """The same records, scaled in float64 and stored as float32."""
        return _with_features(records, (table_of(records) - self.mean) / self.std)


@dataclass(frozen=True, eq=False)
class BoundsScaler:
    """x -> -1..1 between agreed float64 (d,) ``low`` and ``high``; what lies outside is clipped to the bounds."""

    low: Vector
    high: Vector

    def apply(self, records: Records) -> Records:
        """The same records, scaled in float64 and stored as float32."""
        clipped = np.clip(table_of(records), self.low, self.high)
        return _with_features(records, 2.0 * (clipped - self.low) / (self.high - self.low) - 1.0)


def moments_of(records: Records) -> Moments:
    """The mean and the variance of each column.

    Raises:
        InputError: ``not-a-table``.
    """
    table = table_of(records)
    mean = table.mean(axis=0)
    return Moments(mean, np.square(table - mean).mean(axis=0))


def unscaled(columns: int) -> Moments:
    """The moments of columns that scaling leaves as they are."""
    return Moments(np.zeros(columns), np.ones(columns))


def standardiser_of(moments: Moments) -> Standardiser:
    """The scaling to a mean of 0 and a variance of 1. A column that does not vary becomes 0, whatever it holds."""
    std = np.sqrt(moments.variance)
    constant = std <= _SMALLEST_RELATIVE_STD * np.sqrt(moments.variance + np.square(moments.mean))
    # Its weight has no gradient in training: a later patient must not be multiplied with what was drawn at the start.
    return Standardiser(moments.mean, np.where(constant, np.inf, std))


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


def table_of(records: Records) -> Vector:
    """The features, float64 (rows, columns).

    Raises:
        InputError: ``not-a-table``.
    """
    if records.features.ndim != 2:
        message = f"{records.source} does not hold a table; only columns can be standardised."
        raise InputError("not-a-table", message, culprit=records.source, remedy="Set standardise = 'none'.")
    return records.features.astype(np.float64)


def _with_features(records: Records, features: Vector) -> Records:
    scaled = features.astype(np.float32)
    return replace(records, features=scaled)
