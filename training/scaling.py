"""How a hospital's features are scaled, as the task says: by a secure sum, by public bounds, or not at all.

Knows which of the three applies and what it needs. The arithmetic is in `training.standardisation`.
"""

from __future__ import annotations

from dataclasses import dataclass

from secagg.errors import LocalProtocolError
from training.records import Records
from training.standardisation import Moments, Standardiser, bounds_scaler, standardiser_of
from training.task import TaskSpec


@dataclass(frozen=True)
class Scaling:
    """The scaling of one task."""

    spec: TaskSpec

    @property
    def needs_moments(self) -> bool:
        """Whether feature statistics are summed before training."""
        return self.spec.data.standardise == "secure-sum"

    def lacks_moments(self, moments: Moments | None) -> bool:
        """Whether the sum of statistics is due."""
        return self.needs_moments and moments is None

    def standardiser(self, moments: Moments | None) -> Standardiser:
        """The scaling by the consortium's moments.

        Raises:
            LocalProtocolError: ``no-statistics``, before they were summed.
        """
        if moments is None:
            raise LocalProtocolError("no-statistics", "Training began before the feature statistics were summed.")
        return standardiser_of(moments)

    def apply(self, records: Records, moments: Moments | None) -> Records:
        """The records, scaled."""
        match self.spec.data.standardise:
            case "secure-sum":
                return self.standardiser(moments).apply(records)
            case "bounds":
                return bounds_scaler(self.spec.data).apply(records)
            case "none":
                return records
