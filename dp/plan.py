"""The one plan from which sampler, clipping, noise and accountant are made, so that they cannot disagree.

Knows a run's privacy parameters. Knows nothing of charters, which choose them, or of training, which obeys them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from dp.accounting import epsilon_rdp
from dp.events import GaussianEvent
from secagg.errors import InputError


@dataclass(frozen=True, kw_only=True)
class PrivacyPlan:
    """The privacy parameters of one run at one hospital.

    Attributes:
        mode: ``none``, or ``local``: the hospital adds the whole noise itself.
        noise_multiplier: standard deviation of the noise over ``clip_norm``.
        clip_norm: the most one patient's gradient weighs, L2.
        sampling_rate: with which a patient is in a step's batch.
        metric_noise_multiplier: standard deviation of the noise on every released validation count; 0: none released.

    Raises:
        InputError: ``bad-privacy-plan`` on construction.
    """

    mode: Literal["none", "local"]
    noise_multiplier: float
    clip_norm: float
    sampling_rate: float
    delta: float
    rounds: int
    steps_per_round: int
    metric_noise_multiplier: float = 0.0

    def __post_init__(self) -> None:
        numbers = (self.noise_multiplier, self.clip_norm, self.metric_noise_multiplier)
        sound = (
            all(map(math.isfinite, numbers))
            and self.clip_norm > 0
            and 0 < self.sampling_rate <= 1
            and 0 < self.delta < 1
            and min(self.rounds, self.steps_per_round) >= 1
            and min(self.noise_multiplier, self.metric_noise_multiplier) >= 0
            and (self.mode == "none" or self.noise_multiplier > 0)
        )
        if not sound:
            raise InputError("bad-privacy-plan", f"The privacy parameters contradict each other: {self}.")

    def training_events(self, rounds: int) -> tuple[GaussianEvent, ...]:
        """What ``rounds`` rounds cost a training patient."""
        if self.mode == "none" or rounds == 0:
            return ()
        return (GaussianEvent(self.noise_multiplier, self.sampling_rate, rounds * self.steps_per_round),)

    def metric_events(self, rounds: int) -> tuple[GaussianEvent, ...]:
        """What the counts of ``rounds`` rounds cost a validation patient."""
        if self.metric_noise_multiplier == 0 or rounds == 0:
            return ()
        return (GaussianEvent(self.metric_noise_multiplier, 1.0, rounds),)

    def epsilon_after(self, rounds: int) -> float:
        """What ``rounds`` rounds cost any patient.

        A patient is in training or in validation, never in both, so that the cost is the larger of the two (parallel
        composition, McSherry 2009).
        """
        return max(
            epsilon_rdp(self.training_events(rounds), self.delta), epsilon_rdp(self.metric_events(rounds), self.delta)
        )
