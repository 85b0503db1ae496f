"""What a consortium that does not exist yet should agree on, and why: each choice with its reason and its alternative.

Knows the cost model and what a charter allows. What is recommended is made into a charter before it is said, so that
nothing is recommended that a charter refuses. Knows no task: the model is its number of parameters.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final, Literal

import msgspec

from secagg.charter import Charter, Encoding, Homomorphic, Member, Metrics, Model, NeighbourGraph, TaskChoice, Training
from secagg.charter.contradictions import MOST_OPENINGS
from secagg.charter.sections import ENCRYPTED_SCHEMES, Privacy, Scheme
from secagg.charter.thresholds import smallest_threshold
from secagg.encoding.ring import Ring
from secagg.errors import InputError
from secagg.labels import DIGEST_SIZE
from secagg.masking.sizes import round_traffic
from training.choices import CharterChoices
from training.costs.links import Network, transfer_time
from training.dropout import chosen_graph, count_dropped
from training.noise import fewest_with_noise, noise_shares
from training.planning import Plan, make_plans, require_possible
from training.privacy_draft import Sizes, drafted_privacy, wide_enough

# What rounding may take of the longest update.
_MOST_ROUNDING: Final = 1e-3
_WIDTHS: Final = (16, 24, 32, 40, 48)
# What `charter new` sets.
_MAX_WEIGHT: Final = 1024
_EPOCHS: Final = (1, 2, 5, 10, 20, 50)
# A longer epoch must shorten the average round by more than this.
_WORTH: Final = 0.05
_DELTA_PATIENTS: Final = 10
_LARGEST_DELTA: Final = 1e-5


@dataclass(frozen=True)
class Budget:
    """What privacy is to cost.

    Attributes:
        epsilon, delta: of the whole run; a delta of None: a tenth of one over the patients, 1e-5 at most.
        records: training patients of all hospitals together.
        sampling_rate: with which a patient is in a step.
    """

    epsilon: float
    delta: float | None
    records: int
    sampling_rate: float


@dataclass(frozen=True)
class Wishes:
    """What is known of the consortium.

    Attributes:
        parameters: d, that are trained.
        dropout: the share of hospitals that may be gone at once.
        rounds: sums that make the model.
        coordinator_sees: what the coordinator may learn of sums.
        field_bits, epoch_rounds: None where they are to be recommended.
        round_seconds: how long a round may take at most.
        budget: None without differential privacy.
    """

    members: int
    parameters: int
    colluding: int
    dropout: float
    rounds: int
    network: Network
    coordinator_sees: Literal["sum", "nothing"] = "sum"
    field_bits: int | None = None
    epoch_rounds: int | None = None
    round_seconds: float | None = None
    budget: Budget | None = None


@dataclass(frozen=True)
class Choice:
    """One thing that is recommended.

    Attributes:
        what: the field's term for it.
        value: as a person reads it.
        why: in one sentence.
        instead: what else there is, and what that would cost; empty where there is nothing.
        options: of `secagg charter new`, that make it so.
    """

    what: str
    value: str
    why: str
    instead: str
    options: tuple[str, ...]


@dataclass(frozen=True)
class RoundTime:
    """Seconds of one round, without the training itself.

    Attributes:
        transfer: on the lines. set_up: a round's part of the key set-up, transfer included.
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
    """

    choices: tuple[Choice, ...]
    plan: Plan
    round_time: RoundTime
    fits: bool | None
    shortest: int | None

    @property
    def options(self) -> tuple[str, ...]:
        """All options of `secagg charter new`."""
        return tuple(option for choice in self.choices for option in choice.options)


def recommend(wishes: Wishes) -> Recommendation:
    """Choose.

    Raises:
        InputError: of `make_plans`, where no consortium of this kind can be had; ``unreachable-epsilon``,
            ``batch-too-small``, or whatever a charter refuses of what was given.
    """
    require_possible(wishes.members, wishes.colluding)
    scheme: Scheme = "double-lock" if wishes.coordinator_sees == "nothing" else "mask"
    draft = _drafted(wishes, scheme)
    epochs = [wishes.epoch_rounds] if wishes.epoch_rounds else _possible_epochs(wishes, scheme)
    plans = {epoch: _plan(wishes, scheme, draft, epoch) for epoch in epochs}
    averages = {epoch: round_time(plan, wishes.network).total for epoch, plan in plans.items()}
    epoch = next(one for one in epochs if averages[one] <= (1 + _WORTH) * min(averages.values()))
    plan = plans[epoch]
    _require_charter(wishes, plan, draft)
    time = round_time(plan, wishes.network)
    choices = (
        _scheme(plan),
        _threshold(wishes, plan),
        _width(wishes, draft),
        _epoch(wishes, plan, averages),
        _privacy(wishes, draft),
    )
    fits = None if wishes.round_seconds is None else time.total <= wishes.round_seconds
    return Recommendation(choices, plan, time, fits, None if fits is not False else _fitting(wishes, time))


def round_time(plan: Plan, network: Network) -> RoundTime:
    """How long a round of this plan takes."""
    shape, times = plan.shape, plan.times
    set_up = times.set_up + times.coordinator_set_up + transfer_time(plan.set_up, shape.members, network)
    return RoundTime(
        transfer_time(plan.round, shape.members, network), times.hospital, times.coordinator, set_up / shape.rounds
    )


# --- What follows from what --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Draft:
    """The parts of a charter that privacy and width set.

    Attributes:
        batch: patients expected in a step, of all hospitals; 0 without differential privacy.
    """

    privacy: Privacy
    training: Training
    encoding: Encoding
    batch: int = 0


def _drafted(wishes: Wishes, scheme: Scheme) -> _Draft:
    bits = wishes.field_bits or fitting_width(wishes.members, wishes.parameters)
    encoding = Encoding(field_bits=bits, max_weight=_MAX_WEIGHT)
    budget = wishes.budget
    if budget is None:
        return _Draft(Privacy(), Training(rounds=wishes.rounds), encoding)
    batch = round(budget.sampling_rate * budget.records)
    if batch < 1:
        raise InputError(
            "batch-too-small",
            f"Of {budget.records} patients, less than one is in a step at a sampling rate of {budget.sampling_rate:g}.",
            culprit="sampling rate",
            remedy="Raise --sampling-rate, or train on more patients.",
        )
    training = Training(rounds=wishes.rounds, local_steps=1, batch_size=batch, weighting="uniform")
    choices = CharterChoices(
        training=training,
        scheme=scheme,
        encoding=msgspec.structs.replace(encoding, field_bits=wishes.field_bits or _WIDTHS[1]),
        privacy="distributed",
        epsilon=budget.epsilon,
        delta=delta_of(budget),
        sampling_rate=budget.sampling_rate,
        expected_batch=batch,
        max_colluding=wishes.colluding,
        dropout=wishes.dropout,
    )
    threshold = smallest_threshold(wishes.members, wishes.colluding)
    fewest = fewest_with_noise(wishes.members, threshold, wishes.colluding, _graph(wishes, scheme))
    sizes = Sizes(wishes.members, fewest, wishes.parameters, training, Metrics())
    privacy = drafted_privacy(choices, sizes)
    return _Draft(privacy, training, wide_enough(choices, privacy, sizes), batch)


def fitting_width(members: int, parameters: int) -> int:
    """b, such that rounding takes at most a thousandth of the longest update from the mean of all, and weights fit.

    Every hospital rounds each of d numbers to a grid of (2^(b-1) - 1) / n steps, off by 1/sqrt(12) of a step: the mean
    is off by sqrt(n d / 12) / 2^(b-1) of the longest update, L2.
    """
    for bits in _WIDTHS:
        rounding = math.sqrt(members * parameters / 12) / 2 ** (bits - 1)
        if rounding <= _MOST_ROUNDING and Ring(bits).largest // members >= _MAX_WEIGHT:
            return bits
    return _WIDTHS[-1]


def delta_of(budget: Budget) -> float:
    """The delta that was given, or one well below one over the patients."""
    return budget.delta or min(_LARGEST_DELTA, 1 / (_DELTA_PATIENTS * budget.records))


def _graph(wishes: Wishes, scheme: Scheme) -> NeighbourGraph:
    if scheme != "mask":
        return NeighbourGraph()
    dropped = count_dropped(wishes.members, wishes.colluding, wishes.dropout)
    graph = chosen_graph(wishes.members, wishes.colluding, dropped)
    return NeighbourGraph(degree=graph.degree, threshold=graph.threshold) if graph else NeighbourGraph()


def _possible_epochs(wishes: Wishes, scheme: Scheme) -> list[int]:
    most = MOST_OPENINGS // wishes.members if scheme in ENCRYPTED_SCHEMES else wishes.rounds
    return [epoch for epoch in _EPOCHS if epoch <= min(most, wishes.rounds)]


def _plan(wishes: Wishes, scheme: Scheme, draft: _Draft, epoch: int) -> Plan:
    plans = make_plans(
        wishes.members,
        wishes.parameters,
        wishes.colluding,
        wishes.dropout,
        epoch,
        draft.encoding.field_bits,
        [scheme],
        draft.privacy.noise_levels,
    )
    return next(plan for plan in plans.ways if plan.chosen)


def _require_charter(wishes: Wishes, plan: Plan, draft: _Draft) -> None:
    """Make a charter of it, of members that do not exist."""
    shape = plan.shape
    numbers = range(1, wishes.members + 1)
    charter = Charter(
        name="planned",
        nonce=bytes(16),
        members=tuple(Member(name=f"h{number}", public_key=number.to_bytes(32, "big")) for number in numbers),
        threshold=shape.threshold,
        max_colluding=wishes.colluding,
        model=Model(digest=bytes(DIGEST_SIZE), parameters=wishes.parameters),
        task=TaskChoice(kind="planned", settings={}),
        training=draft.training,
        scheme=shape.scheme,
        graph=_graph(wishes, shape.scheme),
        homomorphic=Homomorphic(parameters=shape.parameter_set) if shape.encrypted else Homomorphic(),
        encoding=draft.encoding,
        privacy=draft.privacy,
        epoch_rounds=shape.rounds,
    )
    if draft.privacy.mode == "distributed":
        noise_shares(charter)


def _fitting(wishes: Wishes, time: RoundTime) -> int:
    """How many parameters a round has time for: what does not grow with them is left as it is."""
    small = recommend(replace(wishes, parameters=1, round_seconds=None, budget=None)).round_time.total
    spare, each = (wishes.round_seconds or 0) - small, (time.total - small) / wishes.parameters
    return max(0, math.floor(spare / each)) if each > 0 else 0


# --- In words ----------------------------------------------------------------------------------------------------


def _scheme(plan: Plan) -> Choice:
    other: Scheme = "mask" if plan.shape.encrypted else "double-lock"
    try:
        there = round_traffic(replace(plan.shape, scheme=other, graph=None, noise_levels=()))
        cost = f"{other}: {_times(there.bytes_up / plan.round.bytes_up)} the bytes up, "
        cost += f"{_times(there.bytes_down / plan.round.bytes_down)} down"
    except InputError as error:
        cost = f"{other} cannot be had: {error.message}"
    if plan.shape.encrypted:
        return Choice(
            "scheme",
            "double-lock",
            "The coordinator is to see nothing, and one that conspires with a hospital no more than the sum.",
            f"{cost}, and the coordinator sees sums.",
            ("--scheme", "double-lock"),
        )
    return Choice(
        "scheme",
        "mask",
        "The coordinator sees the sum, which the hospitals publish as a model anyway, and nothing else.",
        f"{cost}, and the coordinator does not see sums either. bfv and ckks: one key for all, never.",
        ("--scheme", "mask"),
    )


def _threshold(wishes: Wishes, plan: Plan) -> Choice:
    shape, alive = plan.shape, plan.shape.survivors
    graph = f" Each masks with {shape.peers:.0f} neighbours." if shape.graph else ""
    return Choice(
        "threshold",
        f"{shape.threshold} of {shape.members}",
        f"The least that is safe: below it, a coordinator that conspires with {wishes.colluding} could ask two sets of "
        f"survivors for what takes all masks off one vector. When {shape.dropped} drop out, {alive} are left.{graph}",
        f"A higher one: sums over larger crowds, and none where {shape.members - shape.threshold} are gone, which this "
        "bears.",
        ("--colluding", str(wishes.colluding), "--threshold", str(shape.threshold), "--dropout", f"{wishes.dropout:g}"),
    )


def _width(wishes: Wishes, draft: _Draft) -> Choice:
    bits = draft.encoding.field_bits
    if draft.privacy.mode == "distributed":
        why = "The narrowest of 24, 32 and 40 in which rounding raises the noise by 1 % at most."
    else:
        rounding = math.sqrt(wishes.members * wishes.parameters / 12) / 2 ** (bits - 1)
        why = f"Rounding takes {rounding:.1g} of the longest update from the mean."
    if wishes.field_bits:
        why = f"As you gave it. {why}" if draft.privacy.mode == "none" else "As you gave it, or as wide as noise takes."
    return Choice(
        "field width",
        f"{bits} bits",
        why,
        f"Each 8 bits more add {100 * 8 / bits:.0f} % to what is sent, and make the grid 256 times finer.",
        ("--field-bits", str(bits)),
    )


def _epoch(wishes: Wishes, plan: Plan, averages: dict[int, float]) -> Choice:
    epoch = plan.shape.rounds
    if wishes.epoch_rounds:
        why = "As you gave it."
    else:
        why = "Longer epochs would shorten the average round by less than 5 %."
    others = [f"{other}: {_times(average / averages[epoch])} the time a round" for other, average in averages.items()]
    return Choice(
        "epoch",
        f"a key set-up each {epoch} rounds" if epoch > 1 else "a key set-up each round",
        f"{why} A hospital that misses the set-up waits for the next one.",
        "; ".join(text for text, other in zip(others, averages, strict=True) if other != epoch),
        ("--rounds", str(wishes.rounds), "--epoch-rounds", str(epoch)),
    )


def _privacy(wishes: Wishes, draft: _Draft) -> Choice:
    budget, privacy = wishes.budget, draft.privacy
    if budget is None:
        return Choice(
            "noise",
            "none",
            "No --epsilon was given: the model itself may reveal patients.",
            "--epsilon and --records: noise for that budget.",
            ("--dp", "none"),
        )
    delta = delta_of(budget)
    return Choice(
        "noise",
        f"distributed, multiplier {privacy.noise_multiplier:g}",
        f"{wishes.rounds} steps on about {draft.batch} of {budget.records} patients cost epsilon {budget.epsilon:g} at "
        f"delta {delta:.1g}. In the mean gradient it deviates by {privacy.noise_multiplier / draft.batch:.2g} of the "
        "clipping norm, in each number.",
        f"local: {math.sqrt(wishes.members):.1f} times the noise in the mean, but it rests on nobody else.",
        (
            *("--dp", "distributed", "--epsilon", f"{budget.epsilon:g}", "--delta", f"{delta:.6g}"),
            *("--sampling-rate", f"{budget.sampling_rate:g}", "--batch-size", str(draft.batch)),
        ),
    )


def _times(factor: float) -> str:
    return f"{factor:.2g} times"
