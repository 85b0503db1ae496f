"""What travels inside a masked vector: the weighted update, its weight and the validation counts; or feature moments.

Knows the charter's encoding. Every number a hospital contributes is inside the vector: no count leaves in clear.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from secagg.charter import Charter
from secagg.encoding import Layout, Ring, Section
from secagg.encoding.ring import RingVector
from secagg.errors import InputError, RemoteProtocolError
from secagg.masking.session import STATISTICS_BITS
from training.standardisation import mean_from_sum

if TYPE_CHECKING:
    # Loads torch, which who only plans does not wait for.
    from training.model_state import ModelLayout

Vector = npt.NDArray[np.float64]

# Of a mean; and of a variance, where the mean does not say that there may be more. At 64 bits the grid still resolves
# 1e-9 for 40 hospitals.
_LARGEST_MOMENT = 1e8
# A variance over the squared mean: a measurement that one patient in ten thousand has. Of counts of cells a litre or a
# microlitre the variance is beyond any limit that does not follow from the mean.
_LARGEST_RELATIVE_VARIANCE = 1e4
_FEWEST_STEPS = 16
_OTHER_UNIT = (
    "Use one unit for this column at all hospitals, a larger or smaller one if need be; or standardise by bounds."
)


@dataclass(frozen=True)
class MeanUpdate:
    """What a training sum says: the weighted mean update, float64 (d,), and the summed validation counts."""

    update: Vector
    cells: npt.NDArray[np.int64]


@dataclass(frozen=True)
class UpdateVector:
    """Encodes one hospital's update; decodes the sum of many."""

    charter: Charter
    model: ModelLayout

    @property
    def layout(self) -> Layout:
        """One section a tensor, then the weight, then the counts."""
        norm = self.charter.encoding.update_norm
        return update_layout(self.charter, [Section(tensor.name, tensor.size, norm) for tensor in self.model.tensors])

    def weight(self, patients: int) -> int:
        """How many patients a hospital counts as: at most ``max_weight``; exactly that if all count the same."""
        most = self.charter.encoding.max_weight
        return most if self.charter.training.weighting == "uniform" else min(patients, most)

    def encode(self, update: Vector, patients: int, cells: npt.NDArray[np.int64]) -> RingVector:
        """A hospital's vector. The update is first clipped to the charter's L2 norm, then weighted.

        Args:
            update: float64 (d,), new minus old parameters.
            patients: how many the hospital trained on.
            cells: int64, the charter's number of validation counts.

        Raises:
            InputError: ``not-finite`` or ``out-of-range``, naming the tensor.
        """
        weight = self.weight(patients)
        weighted = clip_norm(update, self.charter.encoding.update_norm) * (weight / self.charter.encoding.max_weight)
        parts: list[npt.NDArray[np.float64] | npt.NDArray[np.int64]] = list(
            np.split(weighted, np.cumsum([tensor.size for tensor in self.model.tensors])[:-1])
        )
        parts.append(np.array([weight]))
        if self.charter.metrics.cells:
            # An outlying draw of noise must not cost the round. Exact counts that have no room are refused before.
            most = most_counts(self.charter)
            parts.append(np.clip(cells, -most, most) if self.charter.metrics.release == "noisy" else cells)
        return self.layout.encode(parts)

    def decode(self, total: RingVector) -> MeanUpdate:
        """What the survivors' sum says.

        Raises:
            RemoteProtocolError: ``no-weight``: no hospital encodes a sum without weight.
        """
        parts = self.layout.decode(total)
        tensors = len(self.model.tensors)
        share = parts[tensors][0] / self.charter.encoding.max_weight
        if share <= 0:
            raise _no_weight()
        return MeanUpdate(np.concatenate(parts[:tensors]) / share, self._counts(parts))

    def counts(self, total: RingVector) -> npt.NDArray[np.int64]:
        """The summed validation counts alone, which are there without any weight too."""
        return self._counts(self.layout.decode(total))

    def _counts(self, parts: Sequence[Vector]) -> npt.NDArray[np.int64]:
        cells = parts[-1] if self.charter.metrics.cells else np.zeros(0)
        return np.rint(cells).astype(np.int64)


def update_layout(charter: Charter, tensors: Sequence[Section]) -> Layout:
    """The sections of an update: the model's, then the weight, then the counts.

    Raises:
        InputError: ``field-too-narrow``.
    """
    ring = Ring(charter.encoding.field_bits)
    sections = [*tensors, Section("weight", 1, charter.encoding.max_weight, "whole")]
    if charter.metrics.cells:
        sections.append(Section("metrics", charter.metrics.cells, most_counts(charter), "whole"))
    return Layout(ring, len(charter.members), tuple(sections))


def most_counts(charter: Charter) -> int:
    """How many validation patients of one hospital a count of an update has room for."""
    return Ring(charter.encoding.field_bits).largest // len(charter.members)


@dataclass(frozen=True)
class MomentVector:
    """Encodes a hospital's weighted feature moments; decodes their sum.

    Attributes:
        feature_names: one for each column.
        sums: those of moments so far. What the second can hold follows from the mean that the first says, which all
            hospitals have: who adds encoded vectors needs to know of neither.
    """

    charter: Charter
    feature_names: Sequence[str]
    sums: Sequence[Vector] = ()

    @property
    def layout(self) -> Layout:
        """The weight, then one section a feature, so that an error names the feature."""
        sections = [Section("weight", 1, 1.0)]
        sections += [Section(name, 1, limit) for name, limit in zip(self.feature_names, self._limits(), strict=True)]
        return Layout(Ring(STATISTICS_BITS), len(self.charter.members), tuple(sections))

    def _limits(self) -> list[float]:
        if not self.sums:
            return [_LARGEST_MOMENT] * len(self.feature_names)
        return [_largest_variance(mean) for mean in mean_from_sum(self.sums[0]).tolist()]

    def encode(self, moments: Vector) -> RingVector:
        """``[weight, weight * moment of each feature]``, float64 (1 + features,).

        Raises:
            InputError: ``not-finite`` or ``out-of-range``, naming the feature.
        """
        try:
            return self.layout.encode(np.split(moments, len(moments)))
        except InputError as error:
            raise InputError(error.reason, error.message, culprit=error.culprit, remedy=_OTHER_UNIT) from error

    def require_alike(self, moments: Vector, squares: Vector) -> None:
        """Refuse a second sum about a mean that is nothing like this hospital's numbers: false, or of another unit.

        Without that, a false mean, from which the limits follow, would leave all hospitals' inputs one constant.

        Args:
            moments: of the second sum.
            squares: ``weight * mean(x^2)`` of each feature, float64 (features,).

        Raises:
            InputError: ``out-of-range``, naming the feature.
        """
        for name, moment, square in zip(self.feature_names, moments[1:].tolist(), squares.tolist(), strict=True):
            if moment > max(_LARGEST_MOMENT, _LARGEST_RELATIVE_VARIANCE * square):
                raise InputError(
                    "out-of-range",
                    f"The hospitals' mean of {name} does not fit this hospital's numbers at all.",
                    culprit=name,
                    remedy=_OTHER_UNIT,
                )

    def require_resolved(self, squares: Vector) -> None:
        """Refuse a column of which nothing would be left on the grid, so that it would go unscaled.

        Args:
            squares: ``weight * mean(x^2)`` of each feature, float64 (features,).

        Raises:
            InputError: ``too-small``, naming the feature.
        """
        layout = self.layout
        for section, square in zip(layout.sections[1:], squares.tolist(), strict=True):
            if 0 < square * layout.scale(section) < _FEWEST_STEPS:
                raise InputError(
                    "too-small",
                    f"All values of {section.name} are so small that sums of statistics cannot resolve their spread.",
                    culprit=section.name,
                    remedy=_OTHER_UNIT,
                )

    def decode(self, total: RingVector) -> Vector:
        """The sum of `encode`'s arguments.

        Raises:
            RemoteProtocolError: ``no-weight``: no hospital encodes a sum without weight.
        """
        moments = np.concatenate(self.layout.decode(total))
        if moments[0] <= 0:
            raise _no_weight()
        return moments


def _largest_variance(mean: float) -> float:
    """A power of two where it is more than for any mean: the same at all hospitals, whatever their logarithm is."""
    _, exponent = math.frexp(_LARGEST_RELATIVE_VARIANCE * mean * mean)
    return max(_LARGEST_MOMENT, math.ldexp(1.0, exponent))


def _no_weight() -> RemoteProtocolError:
    return RemoteProtocolError(
        "no-weight", "The hospitals of the sum have a total weight of zero: one has sent a false weight."
    )


def clip_norm(update: Vector, norm: float) -> Vector:
    """Scale ``update`` down to an L2 norm of ``norm`` if it is longer; NaN and infinity are left for the encoder."""
    length = float(np.linalg.norm(update))
    return update * (norm / length) if np.isfinite(length) and length > norm else update
