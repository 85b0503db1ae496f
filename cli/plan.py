"""`secagg plan`: what each scheme costs a consortium before there is one."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Final, Literal

import click
import msgspec
from rich.markup import escape
from rich.table import Column, Table

from cli import recommended
from cli.effect import Use, is_given, require_effect
from cli.links import coordinator_link_option, latency_option, link_option
from cli.output import console, json_option, print_json, print_table, size
from cli.recommended import RecommendationJson
from cli.sizing import (
    DELTA,
    FRACTION,
    MOST_EPOCH_ROUNDS,
    MOST_ROUNDS,
    POSITIVE,
    colluding_option,
    dropout_option,
    duration,
)
from secagg.charter.cautions import SHARED_KEY_SCHEMES, Caution, shared_key
from secagg.charter.sections import MOST_MEMBERS, MOST_PARAMETERS, SCHEMES, Scheme
from secagg.charter.state_size import LARGEST_SEALED, MOMENTS, model_snapshot
from secagg.graph import COMPLETE_UP_TO
from secagg.masking.sizes import Traffic
from training.choices import USUAL_EPOCH_ROUNDS, USUAL_FIELD_BITS
from training.costs.links import Link, Network
from training.costs.memory import Memory
from training.planning import Plan, Plans, make_plans
from training.recommending.recommendation import recommend
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
# Below this many bytes a parameter, hundredths tell schemes apart.
_FINE_BYTES: Final = 100


class PlansJson(msgspec.Struct, frozen=True):
    """The ways there are, and what is recommended; null where one scheme was asked for."""

    ways: list[PlanJson]
    recommendation: RecommendationJson | None


class PlanJson(msgspec.Struct, frozen=True):
    """One way to run the consortium; null where nothing can fail. Bytes, messages: of an average hospital.

    Attributes:
        coordinator_sees, coordinator_with_one_hospital_sees: ``nothing``, ``sum`` or ``updates``; null where nothing
            is promised.
        coordinator_disk: bytes that the coordinator keeps of each round.
        homomorphic: the parameter set of ciphertexts; null where there are none.
    """

    scheme: Scheme
    graph: str
    chosen: bool
    coordinator_sees: str
    coordinator_with_one_hospital_sees: str | None
    threshold: int
    degree: int
    holders_threshold: int
    hiding_log2: float | None
    recovery_log2: float | None
    masks_with: float
    homomorphic: str | None
    set_up: Traffic
    round: Traffic
    bytes_up_per_parameter: float
    bytes_down_per_parameter: float
    seconds_set_up: float
    seconds_set_up_coordinator: float
    seconds_round_hospital: float
    seconds_round_coordinator: float
    memory: Memory
    coordinator_disk: int
    warnings: list[Caution]


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
    help="With scheme mask: surplus noise is removed where at least this many hospitals answer. Repeat the option, "
    "the largest number first.",
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
      secagg plan --hospitals 40 --parameters 15000 --coordinator-sees nothing
      secagg plan --hospitals 100 --parameters 1000000 --scheme double-lock --field-bits 23
      secagg plan --hospitals 40 --parameters 15000 --scheme mask --noise-level 40 --noise-level 35
      secagg plan --hospitals 1000 --parameters 1000000 --dropout 0.1 --colluding 50 --round-seconds 60
    """
    require_effect(context, _USES)
    budget = _budget(context, epsilon, delta, patients, sampling_rate)
    found = None
    if scheme == _ALL:
        network = Network(link, coordinator_link, latency)
        found = recommend(
            Wishes(
                members=hospitals,
                parameters=parameters,
                colluding=colluding,
                dropout=dropout,
                rounds=rounds,
                network=network,
                coordinator_sees=coordinator_sees,
                field_bits=field_bits,
                epoch_rounds=epoch_rounds,
                round_seconds=round_seconds,
                budget=budget,
            )
        )
        field_bits, epoch_rounds = found.plan.shape.bits, found.plan.shape.rounds
    schemes = tuple(one for one in SCHEMES if scheme in (_ALL, one))
    plans = make_plans(
        members=hospitals,
        parameters=parameters,
        colluding=colluding,
        dropout=dropout,
        rounds=epoch_rounds or USUAL_EPOCH_ROUNDS,
        bits=field_bits or USUAL_FIELD_BITS,
        schemes=schemes,
        noise_levels=noise_levels,
    )
    if as_json:
        ways = [_as_json(one, colluding, parameters) for one in plans.ways]
        print_json(PlansJson(ways, recommended.as_json(found) if found else None))
        return
    if found:
        recommended.show(found)
        console.print("\n[bold]What each scheme costs[/bold]")
    _print(plans, colluding, parameters)


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


def _print(plans: Plans, colluding: int, parameters: int) -> None:
    shape = plans.ways[0].shape
    console.print(
        f"{shape.members} hospitals, of which {shape.dropped} drop out and {colluding} collude with the coordinator; "
        f"{parameters} parameters of {shape.bits} bits; a key set-up every {shape.rounds} rounds. A round in which "
        f"fewer than {shape.threshold} hospitals answer makes no sum."
    )
    table = Table(Column(no_wrap=True), *(_title(one) for one in plans.ways))
    for section in _sections(plans.ways, colluding, parameters):
        for name, cells in section:
            table.add_row(name, *cells)
        table.add_section()
    print_table(table)
    for note in _notes(plans, colluding, parameters):
        console.print(note)


def _title(one: Plan) -> str:
    if one.shape.scheme != "mask":
        # So that the column is no wider than its numbers.
        return one.shape.scheme.replace("-", "-\n")
    return "mask:\nall" if one.shape.graph is None else "mask:\nfew"


def _notes(plans: Plans, colluding: int, parameters: int) -> Iterator[str]:
    shapes = [one.shape for one in plans.ways]
    shown = {shape.scheme for shape in shapes}
    if any(shape.graph for shape in shapes):
        yield "mask: a hospital masks with all others, or with a few neighbours: those it draws and those that drew it."
        yield (
            "Chances are upper bounds, for each key set-up: of a sum over half of the honest hospitals or fewer, and "
            "of a round without a sum because a drop-out cannot be made up for."
        )
    shared = [scheme for scheme in SCHEMES if scheme in shown & SHARED_KEY_SCHEMES]
    if shared:
        yield (
            f"[bold red]{', '.join(shared)}[/bold red]: all hospitals share one key. A coordinator that colludes with "
            "any one hospital reads every update. Choose double-lock instead."
        )
    if colluding and any(shape.masked for shape in shapes):
        yield (
            "With one hospital: the sum of each round. Over several rounds the two can learn one hospital's update if "
            "they forge a sum; only noise protects patients then. Transcript and logs show it afterwards."
        )
    if shapes[0].members > COMPLETE_UP_TO and any(shape.encrypted for shape in shapes):
        yield (
            "Encrypted schemes have no neighbours: every hospital exchanges keys with every other, here "
            f"{shapes[0].members * (shapes[0].members - 1):,} messages in a key set-up."
        )
    refused = [one for one in MOMENTS if model_snapshot(parameters, shapes[0].bits, one) > LARGEST_SEALED]
    if refused and any(shape.encrypted for shape in shapes):
        yield (
            f"charter new takes no encrypted scheme for this many parameters with --server {' or '.join(refused)}: a "
            "hospital that misses sums could not catch up."
        )
    if any(shape.noise_levels for shape in shapes):
        yield "Surplus noise is removed under mask only. The times do not include drawing the noise."
    for scheme, why in plans.left_out.items():
        yield f"{scheme} is left out. {escape(why.message)}"
    yield (
        "Bytes and messages are those of an average hospital. Times are estimated, for one core each. Memory is that "
        "of the vectors. Disk is what the coordinator keeps of every round, for good."
    )


Row = tuple[str, list[str]]


def _sections(ways: tuple[Plan, ...], colluding: int, parameters: int) -> Iterator[list[Row]]:
    def row(name: str, cell: Callable[[Plan], str]) -> Row:
        return name, [cell(one) for one in ways]

    yield [
        row("chosen by default", _taken),
        row("coordinator sees", lambda one: "the sum" if _coordinator_sees(one) == "sum" else "no sum"),
        row("with one hospital", lambda one: _SEEN[_with_one_hospital(one, colluding)]),
    ]
    if any(one.shape.masked for one in ways):
        yield _masks(ways)
    yield [
        row("Per key set-up", lambda _: ""),
        row("  messages up, down", lambda one: _messages(one.set_up)),
        row("  bytes up", lambda one: size(one.set_up.bytes_up)),
        row("  bytes down", lambda one: size(one.set_up.bytes_down)),
        row("  hospital time", lambda one: duration(one.times.set_up)),
        row("  coordinator time", lambda one: duration(one.times.coordinator_set_up)),
    ]
    yield [
        row("Per round", lambda _: ""),
        row("  messages up, down", lambda one: _messages(one.round)),
        row("  bytes up", lambda one: size(one.round.bytes_up)),
        row("    per parameter", lambda one: _each(one.round.bytes_up / parameters)),
        row("  bytes down", lambda one: size(one.round.bytes_down)),
        row("    per parameter", lambda one: _each(one.round.bytes_down / parameters)),
        row("  hospital time", lambda one: duration(one.times.hospital)),
        row("  coordinator time", lambda one: duration(one.times.coordinator)),
        row("  hospital memory", lambda one: size(one.memory.hospital)),
        row("  coordinator memory", lambda one: size(one.memory.coordinator)),
        row("  coordinator disk", lambda one: size(one.coordinator_disk)),
    ]


def _masks(ways: tuple[Plan, ...]) -> list[Row]:
    def row(name: str, cell: Callable[[Plan], str]) -> Row:
        return name, [cell(one) if one.shape.masked else "-" for one in ways]

    return [
        row("masks with", lambda one: f"{one.shape.peers:.0f}"),
        row("holders of shares", lambda one: str(one.shape.holders)),
        row("of these needed", lambda one: str(one.shape.share_threshold)),
        row("chance of small sum", lambda one: _chance(one.hiding)),
        row("chance of lost round", lambda one: _chance(one.recovery)),
    ]


def _taken(one: Plan) -> str:
    if one.shape.encrypted:
        return "if asked"
    return "yes" if one.chosen else ""


def _coordinator_sees(one: Plan) -> str:
    return "nothing" if one.shape.encrypted else "sum"


def _with_one_hospital(one: Plan, colluding: int) -> str | None:
    if one.shape.scheme in SHARED_KEY_SCHEMES:
        return "updates"
    return "sum" if colluding else None


_SEEN: Final = {"sum": "the sum", "updates": "[bold red]updates[/bold red]", None: "no\npromise"}


def _as_json(one: Plan, colluding: int, parameters: int) -> PlanJson:
    shape = one.shape
    return PlanJson(
        scheme=shape.scheme,
        graph="complete" if shape.graph is None else "sparse",
        chosen=one.chosen,
        coordinator_sees=_coordinator_sees(one),
        coordinator_with_one_hospital_sees=_with_one_hospital(one, colluding),
        threshold=shape.threshold,
        degree=shape.graph.degree if shape.graph else 0,
        holders_threshold=shape.share_threshold if shape.masked else 0,
        hiding_log2=one.hiding if math.isfinite(one.hiding) else None,
        recovery_log2=one.recovery if math.isfinite(one.recovery) else None,
        masks_with=shape.peers if shape.masked else 0,
        homomorphic=shape.parameter_set if shape.encrypted else None,
        set_up=one.set_up,
        round=one.round,
        bytes_up_per_parameter=one.round.bytes_up / parameters,
        bytes_down_per_parameter=one.round.bytes_down / parameters,
        seconds_set_up=one.times.set_up,
        seconds_set_up_coordinator=one.times.coordinator_set_up,
        seconds_round_hospital=one.times.hospital,
        seconds_round_coordinator=one.times.coordinator,
        memory=one.memory,
        coordinator_disk=one.coordinator_disk,
        warnings=[shared_key(shape.scheme)] if shape.scheme in SHARED_KEY_SCHEMES else [],
    )


def _messages(traffic: Traffic) -> str:
    return f"{traffic.messages_up:.0f}, {traffic.messages_down:.0f}"


def _each(count: float) -> str:
    return f"{count:.2f} B" if count < _FINE_BYTES else size(count)


def _chance(log2: float) -> str:
    return f"2^{math.ceil(log2)}" if math.isfinite(log2) else "never"
