"""What travels inside the masked vector of a training round: the weighted update, its weight, the validation counts.

Knows the charter's encoding. Every number a hospital contributes is inside the vector: no count leaves in clear.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from secagg.charter import Charter
from secagg.encoding import Layout, Ring, Section
from secagg.encoding.ring import RingVector
from secagg.errors import RemoteProtocolError

if TYPE_CHECKING:
    # Loads torch, which who only plans does not wait for.
    from training.model_state import ModelLayout

Vector = npt.NDArray[np.float64]


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
            raise no_weight()
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


def no_weight() -> RemoteProtocolError:
    """The error of who is given a sum that no hospitals can have made that are all honest."""
    return RemoteProtocolError(
        "no-weight", "The hospitals of the sum have no weight, or more than they can have: one has sent a false weight."
    )


def clip_norm(update: Vector, norm: float) -> Vector:
    """Scale ``update`` down to an L2 norm of ``norm`` if it is longer; NaN and infinity are left for the encoder."""
    length = float(np.linalg.norm(update))
    return update * (norm / length) if np.isfinite(length) and length > norm else update
