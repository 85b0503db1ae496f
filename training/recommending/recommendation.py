"""Chooses by the cost model. Knows no task: the model is its number of parameters."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final

from secagg.charter.cautions import Caution, large_delta
from secagg.charter.contradictions import MOST_OPENINGS, require_possible
from secagg.charter.sections import ENCRYPTED_SCHEMES, Scheme
from secagg.errors import InputError
from training.costs.links import transfer_time
from training.planning import Plan, make_plans
from training.recommending.drafting import Draft, drafted, require_charter
from training.recommending.reasons import Choice, choices_of
from training.recommending.wishes import Wishes, delta_of

_EPOCHS: Final = (1, 2, 5, 10, 20, 50)
# A longer epoch must shorten the average round by more than this.
_WORTH: Final = 0.05


@dataclass(frozen=True)
class RoundTime:
    """Seconds of one round, without the training itself.

    Attributes:
        transfer: on the lines. set_up: a round's part of the run's key set-ups, transfer included.
    """

    transfer: float
    hospital: float
    coordinator: float
    set_up: float

    @property
    def total(self) -> float:
        """One after the other: hospitals work at the same time, and the coordinator when all have sent."""
        return self.transfer + self.hospital + self.coordinator + self.set_up


@dataclass(frozen=True)
class Recommendation:
    """What to agree on.

    Attributes:
        plan: what it costs.
        fits: whether a round is as short as was asked for; None where nothing was.
        shortest: how many parameters would fit, where a round does not; 0 if none do.
        cautions: what is to be told of what was given.
    """

    choices: tuple[Choice, ...]
    plan: Plan
    round_time: RoundTime
    fits: bool | None
    shortest: int | None
    cautions: tuple[Caution, ...] = ()

    @property
    def options(self) -> tuple[str, ...]:
        """All options of `secagg charter new`."""
        return tuple(option for choice in self.choices for option in choice.options)


def recommend(wishes: Wishes) -> Recommendation:
    """Choose.

    Raises:
        InputError: of `make_plans`, where no consortium of this kind can be had; ``unreachable-epsilon``,
            ``batch-too-small``, ``batch-too-large``, or whatever a charter refuses of what was given.
    """
    require_possible(wishes.members, wishes.colluding)
    scheme: Scheme = "double-lock" if wishes.coordinator_sees == "nothing" else "mask"
    draft = drafted(wishes, scheme)
    epochs = [wishes.epoch_rounds] if wishes.epoch_rounds else _possible_epochs(wishes, scheme)
    plans = {epoch: _plan(wishes, scheme, draft, epoch) for epoch in epochs}
    averages = {epoch: round_time(plan, wishes).total for epoch, plan in plans.items()}
    epoch = next(one for one in epochs if averages[one] <= (1 + _WORTH) * min(averages.values()))
    plan = plans[epoch]
    require_charter(wishes, plan, draft)
    time, limit = round_time(plan, wishes), wishes.round_seconds
    fits = None if limit is None else time.total <= limit
    shortest = _fitting(wishes, limit, time.total) if limit is not None and not fits else None
    told = large_delta(delta_of(wishes.budget), wishes.budget.patients) if wishes.budget else ()
    return Recommendation(choices_of(wishes, plan, draft, averages), plan, time, fits, shortest, told)


def round_time(plan: Plan, wishes: Wishes) -> RoundTime:
    """How long a round of this plan takes. A key set-up is for a whole epoch, however many rounds of it are left."""
    shape, times, network = plan.shape, plan.times, wishes.network
    set_up = times.set_up + times.coordinator_set_up + transfer_time(plan.set_up, shape.members, network)
    each = set_up * math.ceil(wishes.rounds / shape.rounds) / wishes.rounds
    return RoundTime(transfer_time(plan.round, shape.members, network), times.hospital, times.coordinator, each)


def _possible_epochs(wishes: Wishes, scheme: Scheme) -> list[int]:
    most = MOST_OPENINGS // wishes.members if scheme in ENCRYPTED_SCHEMES else wishes.rounds
    return [epoch for epoch in _EPOCHS if epoch <= min(most, wishes.rounds)]


def _plan(wishes: Wishes, scheme: Scheme, draft: Draft, epoch: int) -> Plan:
    bits = draft.encoding.field_bits
    try:
        plans = make_plans(
            wishes.members,
            wishes.parameters,
            wishes.colluding,
            wishes.dropout,
            epoch,
            bits,
            [scheme],
            draft.privacy.noise_levels,
        )
    except InputError as error:
        if error.reason != "too-large" or not draft.shares:
            raise
        remedy = f"Train fewer parameters: noise on so many takes {bits} bits a number, whatever --field-bits says."
        raise error.with_remedy(remedy) from error
    return next(plan for plan in plans.ways if plan.chosen)


def _fitting(wishes: Wishes, limit: float, took: float) -> int:
    """How many parameters a round has time for: tried, as width, epoch and noise may be others with fewer of them.

    Args:
        limit, took: seconds; how long a round may take, and does.
    """
    parameters, least = wishes.parameters, _seconds(wishes, 1)
    if least > limit:
        return 0
    # What one takes is measured anew, and may be more than it was.
    while took > limit and parameters > 1:
        # What does not grow with them is left as it is.
        parameters = max(1, _rounded_down(parameters * (limit - least) / (took - least)))
        took = _seconds(wishes, parameters)
    return parameters


def _seconds(wishes: Wishes, parameters: int) -> float:
    return recommend(replace(wishes, parameters=parameters, round_seconds=None)).round_time.total


def _rounded_down(number: float) -> int:
    """To two digits: from one time to the next, measured times differ by more."""
    unit = int(10 ** max(0, math.floor(math.log10(max(number, 1))) - 1))
    return math.floor(number / unit) * unit
