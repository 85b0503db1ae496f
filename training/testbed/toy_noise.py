"""Noise for consortia of a testbed: small whole numbers from a keystream.

It hides nothing and is of no known distribution. What matters here is only that both sides draw the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from secagg.charter import Charter, Privacy, Training
from secagg.encoding.ring import Ring, RingVector
from secagg.masking.keystream import MaskStreams, SignedKey

# Component j is drawn from -j * SPREAD to j * SPREAD, so that no two components could be taken for one another.
SPREAD = 5


def noisy(*levels: int) -> dict[str, Any]:
    """What a charter has in which noise is removed at these numbers of survivors."""
    return {
        "privacy": Privacy(
            mode="distributed", noise_multiplier=1.0, noise_levels=levels, noise_digest=bytes(32 if levels else 0)
        ),
        "training": Training(rounds=3, local_steps=1, weighting="uniform"),
    }


@dataclass(frozen=True)
class ToyNoise:
    """A `secagg.masking.noise.NoiseExpansion`."""

    ring: Ring
    length: int

    @classmethod
    def of(cls, charter: Charter) -> ToyNoise:
        """For vectors of training."""
        return cls(Ring(charter.encoding.field_bits), charter.update_length)

    def __call__(self, key: bytes, component: int, /) -> RingVector:
        """Uniform whole numbers from -SPREAD * component to SPREAD * component, near enough."""
        words = np.zeros(self.length, np.uint32)
        MaskStreams([SignedKey(key, 1)], words.dtype).sum_into(0, words)
        largest = SPREAD * component
        return self.ring.from_signed(words.astype(np.int64) % (2 * largest + 1) - largest)
