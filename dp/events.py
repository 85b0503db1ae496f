"""What costs privacy: uses of a mechanism, as values that can be stored, signed and composed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Final, Literal

import msgspec

Noise = Literal["skellam", "discrete-gaussian"]

_NotNegative = Annotated[float, msgspec.Meta(ge=0)]
_Rate = Annotated[float, msgspec.Meta(gt=0, le=1)]
# Of more, floating point has no such number.
LARGEST_COUNT: Final = 1 << 53
_Count = Annotated[int, msgspec.Meta(ge=0, le=LARGEST_COUNT)]
_Number = Annotated[int, msgspec.Meta(ge=1, le=LARGEST_COUNT)]


class GaussianEvent(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, order=True, tag_field="kind", tag="gaussian"
):
    """``steps`` uses of the Gaussian mechanism on a Poisson sample.

    Attributes:
        noise_multiplier: standard deviation of the noise over the L2 sensitivity towards one patient.
        sampling_rate: the probability with which a patient is in the sample; 1 where all are.
    """

    noise_multiplier: _NotNegative
    sampling_rate: _Rate
    steps: _Count


class IntegerEvent(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, order=True, kw_only=True, tag_field="kind", tag="integer"
):
    """``steps`` uses, on a Poisson sample, of integer noise that several hospitals added a share of each.

    Attributes:
        noise: of what distribution each share is.
        variance: of the sum of the honest survivors' shares, in squared steps of the integer grid.
        l1, l2: the sensitivity towards one patient, in steps of the grid, after rounding to it.
        dimension: how many coordinates are released.
        shares: how many independent draws are summed; sums of discrete Gaussians are not quite one.
        sampling_rate: the probability with which a patient is in the sample; 1 where all are.
    """

    noise: Noise
    variance: _NotNegative
    l1: _NotNegative
    l2: _NotNegative
    dimension: _Number
    shares: _Number
    sampling_rate: _Rate
    steps: _Count


Event = GaussianEvent | IntegerEvent


def at_times_the_sensitivity(events: Iterable[IntegerEvent], times: int) -> tuple[IntegerEvent, ...]:
    """What the same uses cost a patient of so many hospitals: all vectors are in one sum, under the same noise.

    As if all were always drawn together. That the patient costs no more where each hospital draws by itself is
    assumed of integer noise; of Gaussian noise `docs/accounting.md` says what is known.
    """
    return tuple(msgspec.structs.replace(event, l1=times * event.l1, l2=times * event.l2) for event in events)


def merge(events: Iterable[Event]) -> tuple[Event, ...]:
    """The same cost with one event for each use of a mechanism, in a canonical order."""
    steps: dict[Event, int] = {}
    for event in events:
        use = _use(event)
        steps[use] = steps.get(use, 0) + event.steps
    return _listed(steps)


def larger(first: Iterable[Event], second: Iterable[Event]) -> tuple[Event, ...]:
    """For each use of a mechanism the larger number of steps: a cost at least that of either."""
    steps: dict[Event, int] = {}
    for event in (*merge(first), *merge(second)):
        use = _use(event)
        steps[use] = max(steps.get(use, 0), event.steps)
    return _listed(steps)


def beyond(first: Iterable[Event], second: Iterable[Event]) -> tuple[Event, ...]:
    """For each use of a mechanism the steps that the first has more of: `merge` of it and the second covers either."""
    steps = {_use(event): event.steps for event in merge(first)}
    for event in merge(second):
        use = _use(event)
        steps[use] = max(0, steps.get(use, 0) - event.steps)
    return _listed(steps)


def _use(event: Event) -> Event:
    return msgspec.structs.replace(event, steps=0)


def _listed(steps: dict[Event, int]) -> tuple[Event, ...]:
    ordered = sorted(steps.items(), key=lambda item: _place(item[0]))
    return tuple(msgspec.structs.replace(use, steps=count) for use, count in ordered if count)


def _place(use: Event) -> tuple[Any, ...]:
    return type(use).__name__, *msgspec.structs.astuple(use)
