"""What travels inside a masked vector where every sum is a step of DP-SGD: integers, with a share of the noise on them.

Knows the order of its elements: the sum of clipped gradients, a one that counts the hospital, the validation counts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dp.shares import NoiseShares
from secagg.charter import Charter
from secagg.encoding import Ring
from secagg.encoding.ring import RingVector
from training.vector_layout import MeanUpdate

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class StepVector:
    """Encodes one hospital's part of a step; decodes the sum of many."""

    charter: Charter
    shares: NoiseShares

    def encode(self, gradients: Integers, cells: Integers, noise: Integers) -> RingVector:
        """A hospital's vector.

        Args:
            gradients: int64 (d,), in steps of the grid.
            cells: int64 (cells,), validation counts; zeros where none are due.
            noise: int64 (d + 1 + cells,).
        """
        most = self.shares.most_counts
        vector = np.concatenate([gradients, np.ones(1, np.int64), np.clip(cells, -most, most)])
        return self._ring.from_signed(vector + noise)

    def decode(self, total: RingVector) -> MeanUpdate:
        """What the survivors' sum says: minus the mean gradient, as the charter's batch size makes it one, and counts.

        The divisor is no count of patients, which would be a secret of its own, but the batch size that is expected.
        """
        signed = self._ring.to_signed(total)
        size = self.shares.dimension
        divisor = -self.shares.scale * self.charter.training.batch_size
        return MeanUpdate(signed[:size] / divisor, signed[size + 1 :])

    def counts(self, total: RingVector) -> Integers:
        """The summed validation counts alone."""
        return self._ring.to_signed(total)[self.shares.dimension + 1 :]

    @property
    def _ring(self) -> Ring:
        return Ring(self.charter.encoding.field_bits)
