"""How much integer noise each hospital adds, so that honest survivors' shares are one trusted curator's noise together.

Knows numbers of hospitals, the ring, and the mechanism. Knows nothing of charters, gradients or messages. The argument
is in `docs/accounting.md`, "Distributed".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise
from typing import Final

from dp.events import IntegerEvent, Noise
from dp.integer_noise import LARGEST_VARIANCE
from dp.rounding import l1_norm_bound, rounded_norm
from secagg.errors import InputError

# A sum wraps around with a probability below 2^-40: of all its coordinates together.
WRAP_BITS: Final = 40
# Less, and the sum of discrete Gaussians is no longer close to one; of Skellam noise, the bound gets loose.
_LEAST_VARIANCE: Final = 1.0
# More, and rounding would cost more accuracy than privacy does.
_MOST_INFLATION: Final = 2.0


@dataclass(frozen=True, kw_only=True)
class Cohort:
    """Who may be in a sum.

    Attributes:
        hospitals: n, all members.
        threshold: t, the fewest survivors.
        colluding: c, how many of them may know their own noise to be none.
        levels: m_0 > ... > m_(J-1) > t: numbers of survivors for which surplus noise is removed again.
    """

    hospitals: int
    threshold: int
    colluding: int
    levels: tuple[int, ...] = ()

    @property
    def steps(self) -> tuple[int, ...]:
        """m_0 > ... > m_J = t."""
        return (*self.levels, self.threshold)

    @property
    def shares(self) -> tuple[float, ...]:
        """By component, the part of the curator's variance that each hospital adds.

        Components 0 to L, which stay in a sum over m_L or more survivors, are 1 / (m_L - c) together, so that
        m_L - c honest survivors add up to the whole.
        """
        honest = [1 / (fewest - self.colluding) for fewest in self.steps]
        return (honest[0], *(later - earlier for earlier, later in pairwise(honest)))

    def most_variance(self, components: Sequence[float]) -> float:
        """The variance of a sum's noise at most, of hospitals that each add components of these: all have added theirs.

        Args:
            components: one for each of `steps`.
        """
        # Just below the next level there are most of those for whom a level is surplus.
        tops = [self.hospitals, *(fewest - 1 for fewest in self.levels)]
        return max(top * each for top, each in zip(tops, accumulate(components), strict=True))


@dataclass(frozen=True, kw_only=True)
class NoiseShares:
    """The grid and the noise of one charter's sums.

    Attributes:
        field_bits: b of the ring that sums are taken in.
        noise_multiplier: z: the curator's standard deviation over the sensitivity after rounding.
        clip_norm: the most one patient's gradient weighs, L2.
        most_patients: how many fully weighing patients a coordinate of one hospital's sum has room for.
        dimension: d, the number of parameters.
        cells: how many validation counts there are; 0 where none are released.
        metric_noise_multiplier: the curator's standard deviation on each count, in patients.
    """

    cohort: Cohort
    noise: Noise
    field_bits: int
    noise_multiplier: float
    clip_norm: float
    most_patients: int
    dimension: int
    cells: int = 0
    metric_noise_multiplier: float = 0.0

    def require_room(self) -> None:
        """Refuse a ring that has no room for a grid that is fine enough.

        Raises:
            InputError: ``field-too-narrow``.
        """
        too_narrow = (
            self.steps_per_clip < 1 or self.inflation > _MOST_INFLATION or (self.cells and self.most_counts < 1)
        )
        if too_narrow:
            raise self._too_narrow(
                f"A field of {self.field_bits} bits has no room for a fine grid in a sum over {self.cohort.hospitals} "
                f"hospitals, each of up to {self.most_patients} patients, with noise {self.noise_multiplier:g}."
            )
        smallest = (self.noise_multiplier * self.sensitivity) ** 2 * min(self.cohort.shares)
        if smallest < _LEAST_VARIANCE:
            raise self._too_narrow(f"A share of noise has a variance of {smallest:.2g} steps: the grid is too coarse.")

    @cached_property
    def steps_per_clip(self) -> int:
        """gamma: the steps of the grid that ``clip_norm`` has; as many as there is room for, a whole number."""
        low, high = 0, 1 << self.field_bits
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self._fits(middle) else (low, middle)
        return low

    @property
    def scale(self) -> float:
        """Steps of the grid in one unit of a gradient."""
        return self.steps_per_clip / self.clip_norm

    @property
    def largest_signal(self) -> int:
        """To what a coordinate of one hospital's sum of gradients is clamped."""
        return self.most_patients * self.steps_per_clip

    @property
    def most_counts(self) -> int:
        """To what a hospital's validation count is clamped, so that sums of counts and noise do not wrap around."""
        tail = self._tail(self.metric_noise_multiplier**2, self.cells)
        return max(0, self._room - tail) // self.cohort.hospitals

    @property
    def sensitivity(self) -> float:
        """D2: what one patient adds to a sum at most, L2, in steps."""
        return rounded_norm(self.steps_per_clip, self.dimension)

    @property
    def inflation(self) -> float:
        """By how much rounding raises the noise that a noise multiplier stands for."""
        return self.sensitivity / self.steps_per_clip

    @property
    def variances(self) -> tuple[int, ...]:
        """By component, the variance of a hospital's noise on each parameter, in squared steps.

        Whole numbers, rounded up: whoever draws noise from the same key must have the same.
        """
        return self._shared_out((self.noise_multiplier * self.sensitivity) ** 2)

    @property
    def metric_variances(self) -> tuple[int, ...]:
        """The same on each validation count; zeros where none are released."""
        return self._shared_out(self.metric_noise_multiplier**2)

    def training_event(self, sampling_rate: float, steps: int) -> IntegerEvent:
        """What ``steps`` steps, each of which gives a sum, cost a training patient, whoever of the honest survives."""
        l2 = self.sensitivity
        return IntegerEvent(
            noise=self.noise,
            variance=(self.noise_multiplier * l2) ** 2,
            l1=l1_norm_bound(l2, self.dimension),
            l2=l2,
            dimension=self.dimension,
            shares=self.cohort.threshold - self.cohort.colluding,
            sampling_rate=sampling_rate,
            steps=steps,
        )

    def metric_event(self, releases: int) -> IntegerEvent:
        """What ``releases`` of validation counts cost a validation patient, who adds one to one count."""
        return IntegerEvent(
            noise=self.noise,
            variance=self.metric_noise_multiplier**2,
            l1=1.0,
            l2=1.0,
            dimension=self.cells,
            shares=self.cohort.threshold - self.cohort.colluding,
            sampling_rate=1.0,
            steps=releases,
        )

    @property
    def _room(self) -> int:
        return (1 << (self.field_bits - 1)) - 1

    @staticmethod
    def _too_narrow(message: str) -> InputError:
        return InputError(
            "field-too-narrow", message, culprit="encoding.field_bits", remedy="Raise encoding.field_bits."
        )

    def _fits(self, steps: int) -> bool:
        signal = self.cohort.hospitals * self.most_patients * steps
        variance = (self.noise_multiplier * rounded_norm(steps, self.dimension)) ** 2
        # A finer grid than noise can be drawn for is of no use: a wide ring keeps what is left of its room.
        if variance * max(self.cohort.shares) > LARGEST_VARIANCE - 1:
            return False
        return signal + self._tail(variance, self.dimension) <= self._room

    def _tail(self, variance: float, coordinates: int) -> int:
        # Of the whole numbers that hospitals draw: where a share is far below one, that is much more noise.
        most = self.cohort.most_variance(self._shared_out(variance))
        return tail(self.noise, most, max(1, coordinates))

    def _shared_out(self, variance: float) -> tuple[int, ...]:
        return tuple(math.ceil(share * variance) for share in self.cohort.shares)


def tail(noise: Noise, variance: float, coordinates: int) -> int:
    """What none of so many coordinates of noise exceeds in magnitude, but with a probability below 2^-40.

    By Chernoff's bound on the distribution's own moments: for Skellam noise exp(v (cosh s - 1) - s x) at its best s;
    discrete Gaussians, and sums of them, are sub-Gaussian (Canonne, Kamath and Steinke 2020, Lemma 25).
    """
    wanted = (WRAP_BITS + 1) * math.log(2) + math.log(coordinates)
    low, high = 0, 1
    while _exponent(noise, variance, high) < wanted:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _exponent(noise, variance, middle) < wanted else (low, middle)
    return high


def _exponent(noise: Noise, variance: float, distance: int) -> float:
    """Minus the logarithm of a bound on P(X >= distance)."""
    if variance == 0:
        return math.inf if distance > 0 else 0.0
    if noise == "discrete-gaussian":
        return distance**2 / (2 * variance)
    best = math.asinh(distance / variance)
    # cosh s - 1 = 2 sinh(s / 2)^2, without the cancellation.
    return best * distance - 2 * variance * math.sinh(best / 2) ** 2
