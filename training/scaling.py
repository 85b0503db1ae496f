"""How a hospital's features are scaled, as the task says: by a secure sum, by public bounds, or not at all.

Knows which of the three applies and what it needs. The arithmetic is in `training.standardisation`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress
from typing import Final

from secagg.charter.cautions import Caution
from secagg.errors import InputError, LocalProtocolError
from training.records import Records
from training.round_record import some
from training.standardisation import Moments, Standardiser, bounds_scaler, moments_of, standardiser_of
from training.task import TaskSpec
from training.tasks.spec import input_names

_MOST_NAMES: Final = 8


@dataclass(frozen=True)
class Scaling:
    """The scaling of one task."""

    spec: TaskSpec

    @property
    def needs_moments(self) -> bool:
        """Whether feature statistics are summed before training."""
        return self.spec.data.standardise == "secure-sum"

    @property
    def summed_features(self) -> int:
        """Of how many features statistics are summed; 0 where none are."""
        return len(input_names(self.spec.data)) if self.needs_moments else 0

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

    def require_columns(self, records: Records) -> None:
        """Refuse columns that are not those of the task: each would be scaled as another, or by nobody's statistics.

        Code of somebody's own may read any. Columns without names count by their places, where there are bounds.

        Raises:
            InputError: ``other-columns``.
        """
        data = self.spec.data
        # What is no table is told as that.
        if data.standardise == "none" or records.features.ndim != 2:
            return
        wanted, found = input_names(data), tuple(records.feature_names)
        by_place = data.standardise == "bounds" and not found
        if records.features.shape[1] == len(wanted) and (found == wanted or by_place):
            return
        are = some(found, _MOST_NAMES) if found else f"{records.features.shape[1]} without names"
        raise InputError(
            "other-columns",
            f"The columns of {records.source} are {are}; the task scales {some(wanted, _MOST_NAMES) or 'none'}.",
            culprit=records.source,
            remedy="Name the records' columns as the task does, in its order, or set standardise = 'none' and scale by "
            "constants in the task's own code.",
        )

    def apply(self, records: Records, moments: Moments | None) -> Records:
        """The records, scaled.

        Raises:
            InputError: ``other-columns``; ``not-a-table``.
        """
        self.require_columns(records)
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
