"""Integer noise as the continuous Gaussian noise of the same deviation: for comparison, not a bound."""

from __future__ import annotations

import math
from collections.abc import Iterable

from dp.accounting.gaussian import LARGEST_NOISE
from dp.events import Event, GaussianEvent, IntegerEvent


def as_gaussians(events: Iterable[Event]) -> tuple[GaussianEvent, ...]:
    """``events`` with continuous Gaussian noise of the same deviation over the same L2 sensitivity."""
    return tuple(event if isinstance(event, GaussianEvent) else _as_gaussian(event) for event in events)


def _as_gaussian(event: IntegerEvent) -> GaussianEvent:
    deviation = math.sqrt(event.variance)
    multiplier = deviation / event.l2 if event.l2 > 0 else LARGEST_NOISE
    return GaussianEvent(multiplier, event.sampling_rate, event.steps)
