"""How a hospital's features are scaled, as the task says: by secure sums, by public bounds, or not at all.

Knows which of the three applies and what it needs. The arithmetic is in `training.standardisation`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from secagg.charter import Charter
from secagg.errors import LocalProtocolError
from training.records import Records
from training.standardisation import (
    Standardiser,
    bounds_scaler,
    first_moments,
    mean_from_sum,
    second_moments,
    standardiser_from_sums,
)
from training.task import TaskSpec

Vector = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Scaling:
    """The scaling of one charter's task."""

    charter: Charter
    spec: TaskSpec

    @property
    def needs_moments(self) -> bool:
        """Whether feature statistics are summed before training."""
        return self.spec.data.standardise == "secure-sum"

    def lacks_moments(self, sums: Sequence[Vector]) -> bool:
        """Whether another sum of statistics is due."""
        return self.needs_moments and len(sums) < 2

    def moments(self, records: Records, sums: Sequence[Vector]) -> Vector:
        """This hospital's part of the next sum of statistics, float64 (1 + features,)."""
        weight = self._weight(records)
        if not sums:
            return first_moments(records, weight)
        return second_moments(records, weight, mean_from_sum(sums[0]))

    def squares(self, records: Records) -> Vector:
        """This hospital's mean squares, weighted as its moments are: float64 (features,). They stay here."""
        return second_moments(records, self._weight(records), np.zeros(len(records.feature_names)))[1:]

    def _weight(self, records: Records) -> float:
        most = self.charter.encoding.max_weight
        return min(records.patient_count, most) / most

    def unscaled(self, sums: Sequence[Vector]) -> Vector:
        """What stands for the next sum of statistics where it says nothing: a mean of 0, or a spread of 1."""
        features = self.charter.statistics.features
        return np.concatenate([[1.0], np.ones(features) if sums else np.zeros(features)])

    def standardiser(self, sums: Sequence[Vector]) -> Standardiser:
        """Mean and spread over the consortium.

        Raises:
            LocalProtocolError: ``no-statistics``, before both sums are there.
        """
        if len(sums) < 2:
            raise LocalProtocolError("no-statistics", "Training began before the feature statistics were summed.")
        return standardiser_from_sums(sums[0], sums[1])

    def apply(self, records: Records, sums: Sequence[Vector]) -> Records:
        """The records, scaled."""
        match self.spec.data.standardise:
            case "secure-sum":
                return self.standardiser(sums).apply(records)
            case "bounds":
                return bounds_scaler(self.spec.data).apply(records)
            case "none":
                return records
