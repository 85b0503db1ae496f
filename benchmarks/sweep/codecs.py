"""From a float update to ring elements with noise, and from a sum back to a mean: as hospitals do it.

Knows the three modes of differential privacy. What trains, clips patients and draws batches is left out: that is
training, and costs the same without any protection.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

import msgspec
import numpy as np

from benchmarks.sweep.updates import Reals
from dp.gaussian import gaussian
from dp.randomness import secure_generator
from dp.rounding import round_rows
from secagg.charter import Charter
from secagg.encoding import Layout, Ring, Section
from secagg.encoding.ring import RingVector
from secagg.masking.noise import NoiseExpansion, refuse_noise

NOISE_MULTIPLIER: Final = 1.0
PATIENTS_A_STEP: Final = 32


class Codec(Protocol):
    """One charter's way from floats to ring elements and back."""

    norm: float

    @property
    def expansion(self) -> NoiseExpansion:
        """Draws what may be removed of the noise."""

    def encode(self, update: Reals, noise_keys: Sequence[bytes]) -> list[RingVector]:
        """The vector, then each component of noise in it that may be removed; shape (session.length,) each."""

    def mean(self, total: RingVector, survivors: int) -> Reals:
        """The mean of the survivors' updates, float64, shape (d,)."""


class FixedPoint:
    """Without differential privacy: clipped, weighted and rounded to a grid, as `training.vector_layout` does it.

    Written out here because that module's model loads torch, which takes longer than most cases.
    """

    expansion = staticmethod(refuse_noise)

    def __init__(self, charter: Charter) -> None:
        encoding = charter.encoding
        self.norm, self._weight = encoding.update_norm, encoding.max_weight
        sections = (
            Section("parameters", charter.model.parameters, encoding.update_norm),
            Section("weight", 1, encoding.max_weight, "whole"),
        )
        self._layout = Layout(Ring(encoding.field_bits), len(charter.members), sections)

    def encode(self, update: Reals, noise_keys: Sequence[bytes]) -> list[RingVector]:
        """See `Codec`; there is no noise, and so no key of any."""
        del noise_keys
        length = float(np.linalg.norm(update))
        weighted = update * (min(1.0, self.norm / length))
        return [self._layout.encode([weighted, np.array([self._weight])])]

    def mean(self, total: RingVector, survivors: int) -> Reals:
        """See `Codec`; how many survived is in the sum."""
        del survivors
        update, weight = self._layout.decode(total)
        mean: Reals = update / (weight[0] / self._weight)
        return mean


class LocalNoise(FixedPoint):
    """Under local differential privacy: one local step's noise on the update before it is encoded."""

    def __init__(self, charter: Charter) -> None:
        super().__init__(charter)
        self._generator = secure_generator()
        self._deviation = charter.privacy.noise_multiplier * charter.privacy.clip_norm / PATIENTS_A_STEP

    def encode(self, update: Reals, noise_keys: Sequence[bytes]) -> list[RingVector]:
        """See `Codec`."""
        return super().encode(update + gaussian(self._generator, len(update), self._deviation), noise_keys)


class DistributedNoise:
    """Under distributed differential privacy: rounded at random, with a share of integer noise in components."""

    def __init__(self, charter: Charter) -> None:
        # Only here: they load more than the other modes need.
        from training.noise import ShareOfNoise
        from training.step_vector import StepVector

        self._noise = ShareOfNoise(charter)
        self._codec = StepVector(charter, self._noise.shares)
        self._batch = charter.training.batch_size
        self.norm, self.expansion = 0.99 * charter.privacy.clip_norm, self._noise

    def encode(self, update: Reals, noise_keys: Sequence[bytes]) -> list[RingVector]:
        """See `Codec`."""
        shares, generator = self._noise.shares, secure_generator()
        (gradients,) = round_rows(update[None] * shares.scale, shares.steps_per_clip, generator)
        elements = self._codec.encode(
            gradients.astype(np.int64), np.zeros(0, np.int64), self._noise.drawn(0, generator)
        )
        removable = [self._noise(key, component) for component, key in enumerate(noise_keys, start=1)]
        for component in removable:
            np.add(elements, component, out=elements)
        return [elements, *removable]

    def mean(self, total: RingVector, survivors: int) -> Reals:
        """See `Codec`."""
        return self._codec.decode(total).update * (-self._batch / survivors)


def codec_of(charter: Charter) -> Codec:
    """The one that the charter's privacy mode asks for.

    Raises:
        InputError: ``field-too-narrow``.
    """
    match charter.privacy.mode:
        case "none":
            return FixedPoint(charter)
        case "local":
            return LocalNoise(charter)
        case "distributed":
            return DistributedNoise(charter)


def with_noise_digest(charter: Charter) -> Charter:
    """The charter with the digest of what its noise levels draw, where it has any."""
    if not charter.privacy.noise_levels:
        return charter
    from training.noise import noise_digest, noise_shares

    privacy = msgspec.structs.replace(charter.privacy, noise_digest=noise_digest(noise_shares(charter)))
    return msgspec.structs.replace(charter, privacy=privacy)
