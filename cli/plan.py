"""`secagg plan`: what each scheme costs a consortium before there is one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Literal

import click

from cli import recommended
from cli.effect import Use, is_given, require_effect
from cli.links import coordinator_link_option, latency_option, link_option
from cli.output import console, json_option, print_json
from cli.plan_json import plans_json
from cli.plan_view import show_plans
from cli.sizing import (
    DELTA,
    FRACTION,
    MOST_EPOCH_ROUNDS,
    MOST_ROUNDS,
    POSITIVE,
    colluding_option,
    dropout_option,
)
from secagg.charter.sections import MOST_MEMBERS, MOST_PARAMETERS, SCHEMES, Scheme
from training.choices import USUAL_EPOCH_ROUNDS, USUAL_FIELD_BITS
from training.costs.links import Link, Network
from training.planning import Plans, make_plans
from training.recommending.drafting import mask_levels
from training.recommending.recommendation import Recommendation, recommend
from training.recommending.wishes import Budget, Wishes

_ALL: Final = "all"
_RECOMMENDING: Final = Use("scheme", frozenset({_ALL}))
_USES: Final[Mapping[str, Use]] = {
    "noise_levels": Use("scheme", frozenset({_ALL, "mask"})),
    "link": _RECOMMENDING,
    "coordinator_link": _RECOMMENDING,
    "latency": _RECOMMENDING,
    "round_seconds": _RECOMMENDING,
    "coordinator_sees": _RECOMMENDING,
    "rounds": _RECOMMENDING,
    "epsilon": _RECOMMENDING,
    "delta": _RECOMMENDING,
    "patients": _RECOMMENDING,
    "sampling_rate": _RECOMMENDING,
}


@click.command()
@click.option("--hospitals", type=click.IntRange(3, MOST_MEMBERS), required=True, help="Number of hospitals.")
@click.option(
    "--parameters",
    type=click.IntRange(1, MOST_PARAMETERS),
    required=True,
    help="Number of parameters that are trained.",
)
@click.option(
    "--scheme",
    type=click.Choice([_ALL, *SCHEMES]),
    default=_ALL,
    show_default=True,
    help="How updates are hidden; all: recommend one, and show all that are possible side by side.",
)
@colluding_option
@dropout_option
@click.option(
    "--epoch-rounds",
    type=click.IntRange(1, MOST_EPOCH_ROUNDS),
    help="Rounds between two key set-ups; recommended if not given.",
)
@click.option("--field-bits", type=click.IntRange(16, 64), help="Bits per number; recommended if not given.")
@click.option(
    "--noise-level",
    "noise_levels",
    type=click.IntRange(1, MOST_MEMBERS),
    multiple=True,
    help="With --epsilon or --scheme mask: surplus noise is removed where at least this many hospitals answer. Repeat "
    "the option, the largest number first. Recommended if not given, with --epsilon.",
)
@link_option
@coordinator_link_option
@latency_option
@click.option(
    "--round-seconds", type=POSITIVE, help="How many seconds a round may take at most, without the training itself."
)
@click.option(
    "--coordinator-sees",
    type=click.Choice(["sum", "nothing"]),
    default="sum",
    show_default=True,
    help="What the coordinator may learn: the sum, or not even that.",
)
@click.option(
    "--rounds", type=click.IntRange(1, MOST_ROUNDS), default=20, show_default=True, help="Training rounds of the run."
)
@click.option(
    "--epsilon", type=POSITIVE, help="Privacy budget of the run, with --patients; without it no differential privacy."
)
@click.option("--delta", type=DELTA, help="Delta of the budget; if not given, a tenth of 1 / patients, at most 1e-5.")
@click.option("--patients", type=click.IntRange(1), help="Training patients of all hospitals together.")
@click.option(
    "--sampling-rate",
    type=FRACTION,
    default=0.1,
    show_default=True,
    help="Probability that a patient is in the batch of a step.",
)
@json_option
@click.pass_context
def plan(
    context: click.Context,
    hospitals: int,
    parameters: int,
    scheme: str,
    colluding: int,
    dropout: float,
    epoch_rounds: int | None,
    field_bits: int | None,
    noise_levels: tuple[int, ...],
    link: Link,
    coordinator_link: Link,
    latency: float,
    round_seconds: float | None,
    coordinator_sees: Literal["sum", "nothing"],
    rounds: int,
    epsilon: float | None,
    delta: float | None,
    patients: int | None,
    sampling_rate: float,
    as_json: bool,
) -> None:
    """Recommend what a consortium of this size should agree on, and estimate what each scheme would cost it.

    Above 100 hospitals each masks with a few neighbours that it draws at random: enough that sums are safe and
    drop-outs recoverable, except with a probability of 2^-40. Encrypted schemes have no neighbours. Bytes are those of
    the real messages; times are estimated from how fast this machine does each operation, on one core for each party.

    \b
    Examples:
      secagg plan --hospitals 4 --parameters 10000 --link 16/2mbit
      secagg plan --hospitals 40 --parameters 15000 --epsilon 3 --patients 4708
      secagg plan --hospitals 40 --parameters 15000 --epsilon 3 --patients 4708 --noise-level 40 --noise-level 36
      secagg plan --hospitals 40 --parameters 15000 --coordinator-sees nothing
      secagg plan --hospitals 100 --parameters 1000000 --scheme double-lock --field-bits 23
      secagg plan --hospitals 1000 --parameters 1000000 --dropout 0.1 --colluding 50 --round-seconds 60
    """
    require_effect(context, _USES)
    wishes = Wishes(
        members=hospitals,
        parameters=parameters,
        colluding=colluding,
        dropout=dropout,
        rounds=rounds,
        network=Network(link, coordinator_link, latency),
        coordinator_sees=coordinator_sees,
        field_bits=field_bits,
        epoch_rounds=epoch_rounds,
        round_seconds=round_seconds,
        budget=_budget(context, epsilon, delta, patients, sampling_rate),
        noise_levels=noise_levels or None,
    )
    found = recommend(wishes) if scheme == _ALL else None
    plans = _plans(wishes, found, [one for one in SCHEMES if scheme in (_ALL, one)])
    if as_json:
        print_json(plans_json(plans, found))
        return
    if found:
        recommended.show(found)
        console.print("\n[bold]What each scheme costs[/bold]")
    show_plans(plans)


def _plans(wishes: Wishes, found: Recommendation | None, schemes: Sequence[Scheme]) -> Plans:
    """What each scheme costs, with the field width, the epoch and the noise levels that are recommended if any are."""
    epoch_rounds, field_bits = (
        (found.plan.shape.rounds, found.plan.shape.bits) if found else (wishes.epoch_rounds, wishes.field_bits)
    )
    return make_plans(
        members=wishes.members,
        parameters=wishes.parameters,
        colluding=wishes.colluding,
        dropout=wishes.dropout,
        rounds=epoch_rounds or USUAL_EPOCH_ROUNDS,
        bits=field_bits or USUAL_FIELD_BITS,
        schemes=schemes,
        noise_levels=mask_levels(wishes) if found else wishes.noise_levels or (),
    )


def _budget(
    context: click.Context, epsilon: float | None, delta: float | None, patients: int | None, sampling_rate: float
) -> Budget | None:
    if epsilon is None:
        if any(is_given(context, name) for name in ("delta", "patients", "sampling_rate")):
            raise click.UsageError("--delta, --patients and --sampling-rate belong to a budget: give --epsilon too.")
        return None
    if patients is None:
        raise click.UsageError(
            "With --epsilon, give --patients too: the noise follows from the number of patients in a step."
        )
    return Budget(epsilon, delta, patients, sampling_rate)
