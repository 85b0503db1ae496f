"""The charter's integer noise: how much of it each hospital adds, and that of one key, drawn alike by all who have it.

Knows the charter and the order of a vector's elements. Knows nothing of gradients or messages.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
import numpy.typing as npt

from dp.integer_noise import integer_noise
from dp.randomness import KEY_SIZE, secure_generator
from dp.shares import Cohort, NoiseShares
from secagg.charter import Charter, Metrics, Privacy
from secagg.encoding import Ring
from secagg.encoding.ring import RingVector
from secagg.errors import InputError
from secagg.masking.noise import NoiseExpansion, kept_components, refuse_noise

# Tags of components with pads (docs/protocol.md, "Tag"); other tags need another name.
_TAGS: Final = b"noise tag pad"
_DRAWN_FOR_DIGEST: Final = 4096


def noise_shares(charter: Charter) -> NoiseShares:
    """The grid and the shares of noise that a charter of ``distributed`` differential privacy sets.

    Raises:
        InputError: ``field-too-narrow``.
    """
    shares = unchecked_shares(charter)
    shares.require_room()
    return shares


def unchecked_shares(charter: Charter) -> NoiseShares:
    """The same of a charter that is being drafted: there may be no room for them."""
    cohort = Cohort(
        hospitals=len(charter.members),
        threshold=charter.surely_summed,
        colluding=knowing_noise(charter.max_colluding),
        levels=charter.privacy.noise_levels,
    )
    return sized(
        cohort,
        charter.privacy,
        charter.encoding.field_bits,
        charter.training.batch_size,
        charter.model.parameters,
        charter.metrics,
    )


def sized(
    cohort: Cohort, privacy: Privacy, field_bits: int, most_patients: int, parameters: int, metrics: Metrics
) -> NoiseShares:
    """The same of the parts of a charter that may not be one yet."""
    released = metrics.release == "noisy"
    return NoiseShares(
        cohort=cohort,
        noise=privacy.noise,
        field_bits=field_bits,
        noise_multiplier=privacy.noise_multiplier,
        clip_norm=privacy.clip_norm,
        most_patients=most_patients,
        dimension=parameters,
        cells=metrics.cells if released else 0,
        metric_noise_multiplier=privacy.metric_noise_multiplier if released else 0.0,
    )


def count_variance(charter: Charter, survivors: int) -> float:
    """The variance of the noise on each validation count in a sum over so many hospitals; 0 where there is none."""
    if charter.metrics.release != "noisy":
        return 0.0
    privacy = charter.privacy
    if privacy.mode == "distributed":
        kept = 1 + kept_components(privacy.noise_levels, survivors)
        return float(survivors * sum(unchecked_shares(charter).metric_variances[:kept]))
    # Not by a power, which rounds as the machine's library does: every hospital must have the same.
    return survivors * (privacy.metric_noise_multiplier * privacy.metric_noise_multiplier)


def noise_deviation(shares: NoiseShares, survivors: int) -> float:
    """The standard deviation of the noise on each parameter of a sum over so many hospitals, in clip norms.

    It is more than the curator's where more survive than the noise is sized for, but for what is removed.
    """
    kept = 1 + kept_components(shares.cohort.levels, survivors)
    return math.sqrt(survivors * sum(shares.variances[:kept])) / shares.steps_per_clip


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
        """A component that can be removed again, as ring elements: always the same of the same key (32 bytes)."""
        drawn = self.drawn(component, secure_generator(key[:KEY_SIZE]))
        return Ring(self.charter.encoding.field_bits).from_signed(drawn)


def knowing_noise(colluding: int) -> int:
    """How many hospitals' noise hides nobody: that of those who collude; and of one in any case.

    Every hospital sees each sum and knows its own noise. What hides patients from it is the noise of the others.
    """
    return max(1, colluding)


def noise_digest(shares: NoiseShares) -> bytes:
    """SHA-256 of the components that can be removed, drawn from a key of zeros; nothing where there are none.

    With it how their tags are made: who makes them otherwise must not start either.
    """
    drawn = hashlib.sha256(_TAGS)
    for variance in shares.variances[1:]:
        generator = secure_generator(bytes(KEY_SIZE))
        drawn.update(integer_noise(generator, shares.noise, _DRAWN_FOR_DIGEST, variance).astype("<i8").tobytes())
    return drawn.digest() if shares.cohort.levels else b""


def require_same_noise(charter: Charter) -> None:
    """Refuse to take part where noise is drawn otherwise than by who drafted the charter.

    Noise that was removed otherwise than it was added would look like a forged sum, for which hospitals stop for good.

    Raises:
        InputError: ``other-noise``.
    """
    if charter.privacy.noise_levels and noise_digest(noise_shares(charter)) != charter.privacy.noise_digest:
        raise InputError(
            "other-noise",
            "From the same key, this site draws noise that differs from what the charter says.",
            culprit="privacy.noise_digest",
            remedy="All members and the coordinator need the same releases of numpy and randomgen.",
        )


def noise_expansion(charter: Charter) -> NoiseExpansion:
    """What draws the noise that is removed from a charter's sums, if any is.

    Raises:
        InputError: ``other-noise``.
    """
    require_same_noise(charter)
    return ShareOfNoise(charter) if charter.privacy.noise_levels else refuse_noise
