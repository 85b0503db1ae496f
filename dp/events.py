"""What costs privacy: uses of a mechanism, as values that can be stored, signed and composed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import msgspec


class GaussianEvent(msgspec.Struct, frozen=True, forbid_unknown_fields=True, order=True):
    """``steps`` uses of the Gaussian mechanism on a Poisson sample.

    Attributes:
        noise_multiplier: standard deviation of the noise over the L2 sensitivity towards one patient.
        sampling_rate: the probability with which a patient is in the sample; 1 where all are.
    """

    noise_multiplier: Annotated[float, msgspec.Meta(ge=0)]
    sampling_rate: Annotated[float, msgspec.Meta(gt=0, le=1)]
    steps: Annotated[int, msgspec.Meta(ge=0)]


def merge(events: Iterable[GaussianEvent]) -> tuple[GaussianEvent, ...]:
    """The same cost with one event for each (noise multiplier, sampling rate), in a canonical order."""
    steps: dict[tuple[float, float], int] = {}
    for event in events:
        kind = (event.noise_multiplier, event.sampling_rate)
        steps[kind] = steps.get(kind, 0) + event.steps
    return tuple(GaussianEvent(*kind, count) for kind, count in sorted(steps.items()) if count)


def larger(first: Iterable[GaussianEvent], second: Iterable[GaussianEvent]) -> tuple[GaussianEvent, ...]:
    """For each (noise multiplier, sampling rate) the larger number of steps: a cost at least that of either."""
    steps: dict[tuple[float, float], int] = {}
    for event in (*merge(first), *merge(second)):
        kind = (event.noise_multiplier, event.sampling_rate)
        steps[kind] = max(steps.get(kind, 0), event.steps)
    return tuple(GaussianEvent(*kind, count) for kind, count in sorted(steps.items()))
