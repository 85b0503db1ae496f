"""The one plan from which sampler, clipping, noise and accountant are made, so that they cannot disagree.

Knows a run's privacy parameters. Knows nothing of charters, which choose them, or of training, which obeys them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

from dp.accounting import epsilon_of_exchange, epsilon_of_runs, epsilon_rdp
from dp.events import Event, GaussianEvent, at_times_the_sensitivity
from dp.shares import NoiseShares
from secagg.errors import InputError


@dataclass(frozen=True, kw_only=True)
class PrivacyPlan:
    """The privacy parameters of one run at one hospital.

    Attributes:
        mode: ``none``; ``local``: the hospital adds the whole noise itself; ``distributed``: a share of it.
        noise_multiplier: standard deviation of the noise over ``clip_norm``.
        clip_norm: the most one patient's gradient weighs, L2.
        sampling_rate: the probability with which a patient is in a step's batch.
        metric_noise_multiplier: standard deviation of the noise on every released validation count; 0: none released.
        metric_every: counts are released with every so-many-th sum, and with the last.
        shares: of the noise, where the mode is ``distributed``.

    Raises:
        InputError: ``bad-privacy-plan`` on construction.
    """

    mode: Literal["none", "local", "distributed"]
    noise_multiplier: float
    clip_norm: float
    sampling_rate: float
    delta: float
    rounds: int
    steps_per_round: int
    metric_noise_multiplier: float = 0.0
    metric_every: int = 1
    shares: NoiseShares | None = None

    def __post_init__(self) -> None:
        numbers = (self.noise_multiplier, self.clip_norm, self.metric_noise_multiplier)
        sound = (
            all(map(math.isfinite, numbers))
            and self.clip_norm > 0
            and 0 < self.sampling_rate <= 1
            and 0 < self.delta < 1
            and min(self.rounds, self.steps_per_round, self.metric_every) >= 1
            and min(self.noise_multiplier, self.metric_noise_multiplier) >= 0
            and (self.mode == "none" or self.noise_multiplier > 0)
            and (self.mode == "distributed") == (self.shares is not None)
        )
        if not sound:
            raise InputError(
                "bad-privacy-plan",
                f"The privacy parameters contradict each other: {self}.",
                remedy="Draft the charter with `secagg charter new`.",
            )

    def training_events(self, rounds: int) -> tuple[Event, ...]:
        """What ``rounds`` rounds cost a training patient."""
        steps = rounds * self.steps_per_round
        if self.mode == "none" or steps == 0:
            return ()
        if self.shares:
            return (self.shares.training_event(self.sampling_rate, steps),)
        return (GaussianEvent(self.noise_multiplier, self.sampling_rate, steps),)

    def metric_events(self, releases: int) -> tuple[Event, ...]:
        """What so many releases of validation counts cost a validation patient."""
        if self.metric_noise_multiplier == 0 or releases == 0:
            return ()
        if self.shares:
            return (self.shares.metric_event(releases),)
        return (GaussianEvent(self.metric_noise_multiplier, 1.0, releases),)

    def releases_counts(self, number: int) -> bool:
        """Whether the ``number``-th sum carries validation counts, if any are released."""
        return carries_counts(number, self.metric_every, self.rounds)

    def releases(self, sums: int) -> int:
        """How many of the first ``sums`` sums carry validation counts."""
        return count_releases(sums, self.metric_every, self.rounds)

    def epsilon_after(self, rounds: int, sums: int | None = None) -> float:
        """What ``rounds`` rounds, of which ``sums`` had a sum, cost any patient, as the ledger counts it.

        A patient is in training or in validation, never in both: at every order the dearer of the two counts (parallel
        composition, McSherry 2009).

        Args:
            sums: all rounds had a sum if not given.
        """
        groups = (self.training_events(rounds), self.metric_events(self.most_releases(rounds, sums)))
        return epsilon_of_runs([groups], self.delta)

    def epsilon_at_two_hospitals(self, rounds: int, sums: int | None = None) -> float | None:
        """The same of a patient of exactly two hospitals, towards whoever has the sums; None unless noise is shared.

        Such a patient is in training at both, in validation at both, or one here and one there. Where each hospital
        adds the whole noise, it is no more than the sum of what both have spent.
        """
        if not self.shares:
            return None
        training = [self.shares.training_event(self.sampling_rate, rounds * self.steps_per_round)] if rounds else []
        releases = self.most_releases(rounds, sums)
        counts = [self.shares.metric_event(releases)] if self.metric_noise_multiplier and releases else []
        ways = (at_times_the_sensitivity(training, 2), at_times_the_sensitivity(counts, 2), (*training, *counts))
        return max(epsilon_rdp(events, self.delta) for events in ways)

    def epsilon_of_exchange(self, rounds: int, sums: int | None = None) -> float:
        """At most what the same rounds cost where one patient is exchanged for another, at the same delta."""
        return epsilon_of_exchange(lambda delta: replace(self, delta=delta).epsilon_after(rounds, sums), self.delta)

    def most_releases(self, rounds: int, sums: int | None = None) -> int:
        """Of how many rounds counts may have been released: any round without a sum may have carried them.

        Args:
            sums: all rounds had a sum if not given.
        """
        had = rounds if sums is None else sums
        return self.releases(had) + rounds - had


def carries_counts(number: int, every: int, rounds: int) -> bool:
    """Whether validation counts are released with the ``number``-th sum: with each ``every``-th, and with the last.

    What is charged and what is released both go by it.
    """
    return number % every == 0 or number == rounds


def count_releases(sums: int, every: int, rounds: int) -> int:
    """How many of the first ``sums`` sums carry validation counts, by the same rule."""
    return sums // every + (sums >= rounds and rounds % every != 0)
