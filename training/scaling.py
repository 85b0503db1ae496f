"""How a hospital's features are scaled, as the task says: by a secure sum, by public bounds, or not at all.

Knows which of the three applies and what it needs. The arithmetic is in `training.standardisation`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress

from secagg.charter.cautions import Caution
from secagg.errors import LocalProtocolError
from training.records import Records
from training.standardisation import Moments, Standardiser, bounds_scaler, moments_of, standardiser_of
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

    def constant(self, moments: Moments | None, features: Sequence[str]) -> tuple[str, ...]:
        """Which of ``features`` did not vary at any hospital, so that the model makes no use of them."""
        if not self.needs_moments or moments is None:
            return ()
        return tuple(compress(features, self.standardiser(moments).constant))

    def alone(self, records: Records) -> Records:
        """The records, scaled as in a consortium that has no others."""
        return self.by(records, records)

    def by(self, records: Records, trained_on: Records) -> Records:
        """The records, scaled as in a consortium that has no others than ``trained_on``."""
        return self.apply(records, moments_of(trained_on) if self.needs_moments else None)

    def apply(self, records: Records, moments: Moments | None) -> Records:
        """The records, scaled."""
        match self.spec.data.standardise:
            case "secure-sum":
                return self.standardiser(moments).apply(records)
            case "bounds":
                return bounds_scaler(self.spec.data).apply(records)
            case "none":
                return records


def constant_columns(names: Sequence[str]) -> tuple[Caution, ...]:
    """What is told of columns that do not vary; nothing where there are none."""
    if not names:
        return ()
    return (
        Caution(
            "constant-columns",
            f"Columns that have one value at all hospitals are left out of account by the model: {', '.join(names)}.",
            "Drop them from the task, or find out why they do not vary: a value that is missing may be coded as a "
            "number.",
        ),
    )
