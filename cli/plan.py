"""`secagg plan`: what masking costs a consortium before there is one."""

from __future__ import annotations

import math
from collections.abc import Callable

import click
import msgspec
from rich.table import Table

from cli.output import console, json_option, print_json, size
from cli.sizing import colluding_option, dropout_option, epoch_rounds_option, field_bits_option
from secagg.charter.model import MOST_MEMBERS, MOST_PARAMETERS
from secagg.masking.sizes import Traffic
from training.planning import Plan, Plans, make_plans


class PlanJson(msgspec.Struct, frozen=True):
    """One way to run the consortium; null where nothing can fail. Bytes, messages: of an average hospital."""

    graph: str
    chosen: bool
    threshold: int
    degree: int
    holders_threshold: int
    hiding_log2: float | None
    recovery_log2: float | None
    masks_with: float
    set_up: Traffic
    round: Traffic
    bytes_up_per_parameter: float
    seconds_set_up: float
    seconds_round_hospital: float
    seconds_round_coordinator: float


@click.command()
@click.option("--hospitals", type=click.IntRange(3, MOST_MEMBERS), required=True, help="n.")
@click.option("--parameters", type=click.IntRange(1, MOST_PARAMETERS), required=True, help="d, of the model.")
@colluding_option
@dropout_option
@epoch_rounds_option
@field_bits_option
@json_option
def plan(
    hospitals: int, parameters: int, colluding: int, dropout: float, epoch_rounds: int, field_bits: int, as_json: bool
) -> None:
    """Neighbours, threshold, messages, bytes and time for a consortium of this size.

    Above 100 hospitals each masks with a few neighbours that it draws at random: as many as keep every sum whole and
    every drop-out recoverable, but for a chance of 2^-40. Bytes are those of the real messages; times are estimated
    from how fast this machine does each operation, one core for each party.

    \b
    Examples:
      secagg plan --hospitals 40 --parameters 15000
      secagg plan --hospitals 1000 --parameters 1000000 --dropout 0.1 --colluding 50
    """
    plans = make_plans(hospitals, parameters, colluding, dropout, epoch_rounds, field_bits)
    shown = [plans.complete, *([plans.sparse] if plans.sparse else [])]
    if as_json:
        print_json([_as_json(one, plans, parameters) for one in shown])
        return
    _print(plans, shown, colluding, parameters)


def _print(plans: Plans, shown: list[Plan], colluding: int, parameters: int) -> None:
    shape = plans.complete.shape
    click.echo(
        f"{shape.members} hospitals, {shape.dropped} of them gone, {colluding} colluding; {parameters} parameters of "
        f"{shape.bits} bits; {shape.rounds} rounds a key set-up."
    )
    click.echo(f"A sum is taken over {shape.threshold} hospitals or more.")
    table = Table("", *("all with all" if one.shape.graph is None else "neighbours" for one in shown))
    for name, cells in _rows(shown, plans):
        table.add_row(name, *cells)
    console.print(table)
    click.echo("Bytes and messages: of an average hospital. Times: estimated, one core each.")


def _rows(shown: list[Plan], plans: Plans) -> list[tuple[str, list[str]]]:
    def row(name: str, cell: Callable[[Plan], str]) -> tuple[str, list[str]]:
        return name, [cell(one) for one in shown]

    return [
        row("`charter new` takes", lambda one: "this" if one is plans.chosen else ""),
        row("holders of a hospital's shares", lambda one: str(one.shape.holders)),
        row("of which rebuild its secrets", lambda one: str(one.shape.share_threshold)),
        row("masks with", lambda one: f"{one.shape.peers:.0f}"),
        row("a sum over half of them or fewer", lambda one: _chance(one.hiding)),
        row("a drop-out cannot be recovered", lambda one: _chance(one.recovery)),
        row("set-up: messages up, down", lambda one: f"{one.set_up.messages_up:.0f}, {one.set_up.messages_down:.0f}"),
        row("set-up: bytes up, down", lambda one: f"{size(one.set_up.bytes_up)}, {size(one.set_up.bytes_down)}"),
        row("set-up: hospital's time", lambda one: _time(one.times.set_up)),
        row("round: messages up, down", lambda one: f"{one.round.messages_up:.0f}, {one.round.messages_down:.0f}"),
        row("round: bytes up, down", lambda one: f"{size(one.round.bytes_up)}, {size(one.round.bytes_down)}"),
        row("round: hospital's time", lambda one: _time(one.times.hospital)),
        row("round: coordinator's time", lambda one: _time(one.times.coordinator)),
    ]


def _as_json(one: Plan, plans: Plans, parameters: int) -> PlanJson:
    shape = one.shape
    return PlanJson(
        graph="complete" if shape.graph is None else "sparse",
        chosen=one is plans.chosen,
        threshold=shape.threshold,
        degree=shape.graph.degree if shape.graph else 0,
        holders_threshold=shape.share_threshold,
        hiding_log2=one.hiding if math.isfinite(one.hiding) else None,
        recovery_log2=one.recovery if math.isfinite(one.recovery) else None,
        masks_with=shape.peers,
        set_up=one.set_up,
        round=one.round,
        bytes_up_per_parameter=one.round.bytes_up / parameters,
        seconds_set_up=one.times.set_up,
        seconds_round_hospital=one.times.hospital,
        seconds_round_coordinator=one.times.coordinator,
    )


def _chance(log2: float) -> str:
    return f"2^{math.ceil(log2)} at most" if math.isfinite(log2) else "never"


def _time(seconds: float) -> str:
    for unit, length in (("h", 3600), ("min", 60), ("s", 1)):
        if seconds >= length:
            return f"{seconds / length:.1f} {unit}"
    return f"{1000 * seconds:.1f} ms"
