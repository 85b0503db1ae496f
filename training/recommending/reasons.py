"""Each thing that is recommended in words: its value, why, and what there is instead."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from dp.shares import NoiseShares
from secagg.charter.cautions import coarse_grid
from secagg.charter.rounding import FEW_PATIENTS, is_coarse, rounding_of_mean
from secagg.charter.sections import Encoding, Scheme
from secagg.errors import InputError
from secagg.masking.sizes import round_traffic
from training.choices import USUAL_WEIGHT
from training.noise import noise_deviation
from training.planning import Plan
from training.privacy_draft import WIDTHS, is_fine, narrowest_fine, promising_rings
from training.recommending.drafting import Draft, cohort_under, mask_levels
from training.recommending.wishes import Wishes, delta_of

# Noise so many times as long as what it hides leaves a step little to learn from: a rule of thumb, no bound.
_MOST_NOISE: Final = 10
# Two digits have none after the point.
_WHOLE_FROM: Final = 10
_MORE_BITS: Final = 8
# Of a ring.
_MOST_BITS: Final = 64
_DROWNED: Final = " Training would drown in it: train fewer parameters, or raise the patients per step or epsilon."


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


def choices_of(wishes: Wishes, plan: Plan, draft: Draft, averages: Mapping[int, float]) -> tuple[Choice, ...]:
    """All that a person has to agree to.

    Args:
        averages: for each length of an epoch in rounds, seconds of an average round.
    """
    return (
        _scheme(wishes, plan, draft),
        _threshold(wishes, plan),
        _width(wishes, plan, draft),
        _epoch(wishes, plan, averages),
        _privacy(wishes, plan, draft),
    )


def _scheme(wishes: Wishes, plan: Plan, draft: Draft) -> Choice:
    other: Scheme = "mask" if plan.shape.encrypted else "double-lock"
    seen = "the coordinator sees sums" if other == "mask" else "the coordinator does not see sums either"
    levels = mask_levels(wishes) if other == "mask" else ()
    try:
        shares = _shares_under(other, wishes, draft)
        bits = shares.field_bits if shares else plan.shape.bits
        there = round_traffic(replace(plan.shape, scheme=other, graph=None, noise_levels=levels, bits=bits))
        up, down = there.bytes_up / plan.round.bytes_up, there.bytes_down / plan.round.bytes_down
        noise = _times_the_noise(shares, plan, draft)
        more = "" if _times(noise) == _times(1) else f", {_times(noise)} the noise"
        instead = f"{other}: {_times(up)} the bytes up and {_times(down)} down{more}, and {seen}."
    except InputError as error:
        instead = f"{other} is not possible: {error.message}"
    if plan.shape.encrypted:
        return Choice(
            "scheme",
            "double-lock",
            "The coordinator sees nothing; if it colludes with a hospital, it sees the sum of each round.",
            instead,
            ("--scheme", "double-lock"),
        )
    return Choice(
        "scheme",
        "mask",
        "The coordinator sees the sum of each round, and nothing else.",
        f"{instead} Do not use bfv or ckks: all hospitals share one key.",
        ("--scheme", "mask"),
    )


def _shares_under(scheme: Scheme, wishes: Wishes, draft: Draft) -> NoiseShares | None:
    """The noise as it would be shared, were the scheme this one; None without differential privacy.

    Raises:
        InputError: ``field-too-narrow``, if no ring has room for it; as `cohort_under`.
    """
    if wishes.budget is None or draft.shares is None:
        return None
    here = replace(draft.shares, cohort=cohort_under(wishes, wishes.budget, scheme))
    there = narrowest_fine(promising_rings(here))
    there.require_room()
    return there


def _times_the_noise(there: NoiseShares | None, plan: Plan, draft: Draft) -> float:
    """How many times the noise a sum would have, were it shared as it is ``there``."""
    if there is None or draft.shares is None:
        return 1
    survivors = plan.shape.survivors
    return noise_deviation(there, survivors) / noise_deviation(draft.shares, survivors)


def _threshold(wishes: Wishes, plan: Plan) -> Choice:
    shape, alive = plan.shape, plan.shape.survivors
    spare = shape.members - shape.threshold
    graph = f" Each masks with {shape.peers:.0f} neighbours." if shape.graph else ""
    # Among neighbours a sum is over more than half of the honest hospitals, whatever the threshold.
    crowds = "" if shape.graph else "sums over larger crowds, and "
    return Choice(
        "threshold",
        f"{shape.threshold} of {shape.members}",
        f"The smallest that is safe: below it, a coordinator that colludes with {wishes.colluding} of the hospitals "
        f"could ask two sets of them for what removes all masks from one update. When {shape.dropped} drop out, "
        f"{alive} are left.{graph}",
        f"a higher one: {crowds}no sum where {spare} {'is' if spare == 1 else 'are'} missing, which this one tolerates."
        if spare
        else "more hospitals, or fewer that may collude: with this one there is no sum where any is missing.",
        (
            "--colluding",
            str(wishes.colluding),
            "--threshold",
            str(shape.threshold),
            "--dropout",
            _exact(wishes.dropout),
        ),
    )


def _width(wishes: Wishes, plan: Plan, draft: Draft) -> Choice:
    bits, weight = draft.encoding.field_bits, draft.encoding.max_weight
    options: tuple[str, ...] = ("--field-bits", str(bits))
    if draft.shares:
        why = _rounding_of_noise(wishes, draft.shares)
    else:
        why = ("As you gave it. " if wishes.field_bits else "") + _rounding(wishes, draft.encoding)
    if weight < USUAL_WEIGHT:
        why += f" It has room for weights up to {weight}: a hospital with more patients counts as if it had {weight}."
        options += ("--max-weight", str(weight))
    return Choice(
        "field width",
        f"{bits} bits",
        why,
        _wider(plan, draft),
        options,
    )


def _wider(plan: Plan, draft: Draft) -> str:
    """What more bits would cost and bring; empty where there are no more. Encrypted, they may lie in other blocks."""
    bits = plan.shape.bits
    more = min(_MORE_BITS, _MOST_BITS - bits)
    if not more:
        return ""
    finer = _finer(draft.shares, more) if draft.shares else f"and make rounding {1 << more} times finer"
    try:
        wider = round_traffic(replace(plan.shape, bits=bits + more))
    except InputError as error:
        return f"{bits + more} bits are not possible: {error.message}"
    added = wider.bytes_up / plan.round.bytes_up - 1
    told = f"{more} bits more add" if more > 1 else "1 bit more adds"
    return f"{told} {100 * added:.0f} % to what is sent, {finer}."


def _rounding_of_noise(wishes: Wishes, shares: NoiseShares) -> str:
    raised = f"Rounding raises the noise by {100 * (shares.inflation - 1):.2g} %"
    if wishes.field_bits:
        told = "As you gave it, or as wide as the noise needs."
        return told if is_fine(shares) else f"{told} {raised}."
    *narrower, widest = WIDTHS
    widths = f"{', '.join(map(str, narrower))} and {widest} bits"
    if is_fine(shares):
        return f"The smallest of {widths} with which rounding raises the noise by at most 1 %."
    return f"{raised}: of {widths} none does better."


def _finer(shares: NoiseShares, more: int) -> str:
    wider = replace(shares, field_bits=shares.field_bits + more)
    finer = _times(wider.steps_per_clip / shares.steps_per_clip)
    if finer == _times(1):
        return "and do not make rounding finer: the noise for a finer grid cannot be drawn"
    return f"and make rounding {finer} finer"


def _rounding(wishes: Wishes, encoding: Encoding) -> str:
    sizes = wishes.members, wishes.parameters, encoding
    part = rounding_of_mean(*sizes, FEW_PATIENTS)
    told = f"With {FEW_PATIENTS} patients at each hospital, rounding changes the mean update by {part:.1g} of the "
    told += "longest update; with more patients, by less. Set --max-weight to about the largest hospital's patients."
    return f"{told} {coarse_grid(*sizes).message}" if is_coarse(*sizes) else told


def _epoch(wishes: Wishes, plan: Plan, averages: Mapping[int, float]) -> Choice:
    epoch = plan.shape.rounds
    if wishes.epoch_rounds:
        why = "As you gave it."
    else:
        why = "Longer epochs would shorten the average round by less than 5 %."
    others = [f"{other}: {_time_per_round(average / averages[epoch])}" for other, average in averages.items()]
    return Choice(
        "epoch",
        f"a key set-up every {epoch} rounds" if epoch > 1 else "a key set-up every round",
        f"{why} A hospital that misses the set-up waits for the next one.",
        "; ".join(text for text, other in zip(others, averages, strict=True) if other != epoch),
        ("--rounds", str(wishes.rounds), "--epoch-rounds", str(epoch)),
    )


def _privacy(wishes: Wishes, plan: Plan, draft: Draft) -> Choice:
    budget, shares = wishes.budget, draft.shares
    if budget is None or shares is None:
        return Choice(
            "noise",
            "none",
            "No --epsilon was given: the model itself may reveal patients, and under a site's default policy such a "
            "charter cannot be signed.",
            "--epsilon and --patients add noise for that budget.",
            ("--dp", "none"),
        )
    delta, survivors = delta_of(budget), plan.shape.survivors
    deviation = noise_deviation(shares, survivors)
    each = deviation / draft.batch
    whole = each * math.sqrt(wishes.parameters)
    # Each hospital adds all the noise that its own patients need.
    local = math.sqrt(survivors) * shares.noise_multiplier / deviation
    return Choice(
        "noise",
        f"distributed, multiplier {shares.noise_multiplier:g}",
        f"{wishes.rounds} steps on about {draft.batch} of {budget.patients} patients cost epsilon "
        f"{_exact(budget.epsilon)} at delta {_exact(delta)}. When {survivors} hospitals answer, the noise in the mean "
        f"gradient has a standard deviation of {each:.2g} of the clipping norm in each number, and is {_times(whole)} "
        f"as long as the longest mean gradient.{_DROWNED if whole > _MOST_NOISE else ''}",
        f"local: {local:.1f} times the noise in the mean, but it does not depend on other hospitals.",
        (
            *("--dp", "distributed", "--epsilon", _exact(budget.epsilon), "--delta", _exact(delta)),
            *("--sampling-rate", _exact(budget.sampling_rate), "--batch-size", str(draft.batch)),
            *(("--noise-levels", ",".join(map(str, wishes.noise_levels))) if wishes.noise_levels else ()),
        ),
    )


def _exact(number: float) -> str:
    """As short as it can be told exactly: of another number another charter would be drafted."""
    return repr(number).removesuffix(".0")


def _time_per_round(factor: float) -> str:
    return "the same time per round" if _times(factor) == _times(1) else f"{_times(factor)} the time per round"


def _times(factor: float) -> str:
    rounded = float(f"{factor:.2g}")
    return f"{rounded:,.0f} times" if rounded >= _WHOLE_FROM else f"{rounded:g} times"
