"""The charter's integer noise: how much of it each hospital adds, and that of one key, drawn alike by all who have it.

Knows the charter and the order of a vector's elements. Knows nothing of gradients or messages.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from dp.integer_noise import integer_noise
from dp.randomness import KEY_SIZE, secure_generator
from dp.shares import Cohort, NoiseShares
from secagg.charter import Charter
from secagg.encoding import Ring
from secagg.encoding.ring import RingVector
from secagg.masking.noise import NoiseExpansion, refuse_noise


def noise_shares(charter: Charter) -> NoiseShares:
    """The grid and the shares of noise that a charter of ``distributed`` differential privacy sets.

    Raises:
        InputError: ``field-too-narrow``.
    """
    privacy = charter.privacy
    released = charter.metrics.release == "noisy"
    shares = NoiseShares(
        cohort=Cohort(
            hospitals=len(charter.members),
            threshold=charter.threshold,
            colluding=charter.max_colluding,
            levels=privacy.noise_levels,
        ),
        noise=privacy.noise,
        field_bits=charter.encoding.field_bits,
        noise_multiplier=privacy.noise_multiplier,
        clip_norm=privacy.clip_norm,
        most_patients=charter.training.batch_size,
        dimension=charter.model.parameters,
        cells=charter.metrics.cells if released else 0,
        metric_noise_multiplier=privacy.metric_noise_multiplier if released else 0.0,
    )
    shares.require_room()
    return shares


@dataclass(frozen=True)
class ShareOfNoise:
    """Draws one hospital's noise: for the parameters, nothing for the weight, then for the validation counts."""

    charter: Charter

    @cached_property
    def shares(self) -> NoiseShares:
        """How much of it."""
        return noise_shares(self.charter)

    def drawn(self, component: int, generator: np.random.Generator) -> npt.NDArray[np.int64]:
        """One component of it, int64, shape (d + 1 + cells,).

        Args:
            component: 0 for what always stays in a sum.
        """
        shares = self.shares
        return np.concatenate(
            [
                integer_noise(generator, shares.noise, shares.dimension, shares.variances[component]),
                np.zeros(1, np.int64),
                integer_noise(generator, shares.noise, shares.cells, shares.metric_variances[component]),
            ]
        )

    def __call__(self, key: bytes, component: int) -> RingVector:
        """A component that can be taken off again, as ring elements: always the same of the same key (32 bytes)."""
        drawn = self.drawn(component, secure_generator(key[:KEY_SIZE]))
        return Ring(self.charter.encoding.field_bits).from_signed(drawn)


def noise_expansion(charter: Charter) -> NoiseExpansion:
    """What draws the noise that comes off a charter's sums, if any does."""
    return ShareOfNoise(charter) if charter.privacy.noise_levels else refuse_noise
