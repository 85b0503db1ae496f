"""The differential privacy of a charter that is being drafted: how much noise an epsilon takes, and the grid for it.

Knows the accountant and the choices. Knows nothing of members or tasks but their numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import msgspec

from dp.accounting import epsilon_of_runs, noise_multiplier_for, smallest_multiplier
from dp.accounting.gaussian import LARGEST_NOISE
from dp.events import Event, GaussianEvent
from dp.plan import count_releases
from dp.shares import Cohort, NoiseShares
from secagg.charter import Encoding, Metrics, Privacy, Training
from secagg.charter.contradictions import check_noise_levels
from secagg.errors import InputError
from training.choices import CharterChoices
from training.dropout import chosen_noise_levels
from training.noise import knowing_noise, noise_digest, sized

# Validation patients are all counted.
_METRIC_RATE: Final = 1.0
# A ring that rounding costs more noise in is widened: the noise is paid for in accuracy, the bits in bytes.
_MOST_INFLATION: Final = 1.01
WIDTHS: Final = (24, 32, 40)
"""Bits a number, of the rings that noise is fitted into."""


@dataclass(frozen=True)
class Sizes:
    """What the accountant must know of a charter besides choices.

    Attributes:
        fewest: of how many survivors all but those who may collude surely add noise.
        metrics: which counts are released, and when.
    """

    members: int
    fewest: int
    parameters: int
    training: Training
    metrics: Metrics

    @property
    def releases(self) -> int:
        """How many sums of the run carry counts, if any are released."""
        return count_releases(self.training.rounds, self.metrics.every, self.training.rounds)


@dataclass(frozen=True)
class DraftedPrivacy:
    """The privacy section, and the encoding that its noise is sized for: neither is right without the other.

    Attributes:
        shares: of the noise, under ``distributed``; None otherwise.
    """

    privacy: Privacy
    encoding: Encoding
    shares: NoiseShares | None = None


def drafted_privacy(choices: CharterChoices, sizes: Sizes) -> DraftedPrivacy:
    """The privacy section that keeps to ``choices.epsilon``, in a ring where rounding costs little noise.

    Raises:
        InputError: ``unreachable-epsilon``, ``bad-delta``, ``too-many-dropped``, ``noise-levels-contradict``.
    """
    match choices.privacy:
        case "none":
            return DraftedPrivacy(Privacy(), choices.encoding)
        case "local":
            return DraftedPrivacy(_local(choices, sizes), choices.encoding)
        case "distributed":
            return _distributed(choices, sizes)


def _local(choices: CharterChoices, sizes: Sizes) -> Privacy:
    training = sizes.training
    steps = training.rounds * training.local_steps
    noise = noise_multiplier_for(choices.epsilon, choices.delta, choices.sampling_rate, steps)
    metric_noise = 0.0
    if choices.metrics == "noisy":
        releases = sizes.releases
        metric_noise = noise_multiplier_for(choices.epsilon, choices.delta, _METRIC_RATE, releases)
        events = (GaussianEvent(noise, choices.sampling_rate, steps),)
        metric_noise = _at_once(
            choices, events, metric_noise, lambda tried: (GaussianEvent(tried, _METRIC_RATE, releases),)
        )
    return _privacy(choices, noise, metric_noise, ())


def _distributed(choices: CharterChoices, sizes: Sizes) -> DraftedPrivacy:
    # What room a ring has left for the grid depends on the noise, and the noise on the grid.
    cohort = cohort_of(choices, sizes)
    blank = _shares(choices, sizes, cohort)
    shares = narrowest_fine(_noise_in_ring(choices, sizes, ring) for ring in promising_rings(blank))
    privacy = _privacy(choices, shares.noise_multiplier, shares.metric_noise_multiplier, cohort.levels)
    return DraftedPrivacy(
        msgspec.structs.replace(privacy, noise_digest=noise_digest(shares)),
        msgspec.structs.replace(choices.encoding, field_bits=shares.field_bits),
        shares,
    )


def cohort_of(choices: CharterChoices, sizes: Sizes) -> Cohort:
    """Who adds shares of noise under ``distributed``, and for how many survivors surplus noise is removed.

    Raises:
        InputError: ``too-many-dropped``, ``noise-levels-contradict``.
    """
    return Cohort(
        hospitals=sizes.members,
        threshold=sizes.fewest,
        colluding=knowing_noise(choices.max_colluding),
        levels=_levels(choices, sizes),
    )


def promising_rings(shares: NoiseShares) -> list[NoiseShares]:
    """``shares`` in their own ring and the usual wider ones, the narrowest first: where rounding costs little noise.

    Where that is in none, all that have room for a grid; and where that is none either, their own.
    """
    widths = [shares.field_bits, *(bits for bits in WIDTHS if bits > shares.field_bits)]
    rings = [replace(shares, field_bits=bits) for bits in widths]
    fine = [ring for ring in rings if is_fine(ring)]
    return fine or [ring for ring in rings if ring.steps_per_clip >= 1] or rings[:1]


def narrowest_fine(rings: Iterable[NoiseShares]) -> NoiseShares:
    """The first in which rounding costs little noise; if it does in none, the first of those with the finest grid.

    From some width on it is the noise that can be drawn that bounds the grid.
    """
    tried: list[NoiseShares] = []
    for ring in rings:
        if is_fine(ring):
            return ring
        tried.append(ring)
    return max(tried, key=lambda ring: ring.steps_per_clip)


def is_fine(shares: NoiseShares) -> bool:
    """Whether rounding raises the noise by 1 % at most."""
    return shares.steps_per_clip >= 1 and shares.inflation <= _MOST_INFLATION


def _noise_in_ring(choices: CharterChoices, sizes: Sizes, shares: NoiseShares) -> NoiseShares:
    """``shares``, whose noise multipliers count for nothing, with the least noise that keeps to epsilon."""

    def steps(noise: float) -> Sequence[Event]:
        tried = replace(shares, noise_multiplier=noise)
        return (tried.training_event(choices.sampling_rate, sizes.training.rounds),)

    def counts(noise: float) -> Sequence[Event]:
        return (replace(shares, metric_noise_multiplier=noise).metric_event(sizes.releases),)

    noise, metric_noise = smallest_multiplier(choices.epsilon, choices.delta, steps), 0.0
    if choices.metrics == "noisy":
        metric_noise = smallest_multiplier(choices.epsilon, choices.delta, counts)
        metric_noise = _at_once(choices, steps(noise), metric_noise, counts)
    return replace(shares, noise_multiplier=noise, metric_noise_multiplier=metric_noise)


def _at_once(
    choices: CharterChoices, steps: Sequence[Event], noise: float, counts: Callable[[float], Sequence[Event]]
) -> float:
    """Noise on counts with which both cost no more than epsilon.

    At every order the dearer of both counts, so that two costs at the limit are together just above it.

    Raises:
        InputError: ``unreachable-epsilon``.
    """
    while epsilon_of_runs([(steps, counts(noise))], choices.delta) > choices.epsilon:
        if noise >= LARGEST_NOISE:
            raise InputError(
                "unreachable-epsilon",
                f"No amount of noise on validation counts brings them and training to epsilon {choices.epsilon:g}.",
                remedy="Raise epsilon, release counts with fewer sums (--metrics-every), or leave them out.",
            )
        noise = round(noise * 1.01, 4)
    return noise


def _levels(choices: CharterChoices, sizes: Sizes) -> tuple[int, ...]:
    if choices.noise_levels is not None:
        check_noise_levels(choices.noise_levels, sizes.members, sizes.fewest)
        return choices.noise_levels
    if choices.scheme != "mask" or choices.noise != "skellam":
        return ()
    return chosen_noise_levels(sizes.members, sizes.fewest, choices.max_colluding, choices.dropout)


def _shares(choices: CharterChoices, sizes: Sizes, cohort: Cohort) -> NoiseShares:
    """With noise multipliers of 1, which stand for those that are still to be found."""
    privacy = _privacy(choices, 1.0, 1.0, cohort.levels)
    bits, batch = choices.encoding.field_bits, sizes.training.batch_size
    return sized(cohort, privacy, bits, batch, sizes.parameters, sizes.metrics)


def _privacy(choices: CharterChoices, noise: float, metric_noise: float, levels: tuple[int, ...]) -> Privacy:
    return Privacy(
        mode=choices.privacy,
        noise_multiplier=noise,
        noise=choices.noise,
        noise_levels=levels,
        clip_norm=choices.clip_norm,
        sampling_rate=choices.sampling_rate,
        delta=choices.delta,
        metric_noise_multiplier=metric_noise,
        budget=choices.epsilon,
    )
