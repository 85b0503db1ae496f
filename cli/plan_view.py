"""What each scheme costs a consortium, as the terminal shows it: side by side, and what must be known beside that."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Final

from rich.markup import escape
from rich.table import Column, Table

from cli.output import console, print_table, size
from cli.sizing import duration
from secagg.charter.cautions import SHARED_KEY_SCHEMES
from secagg.charter.sections import SCHEMES
from secagg.graph import COMPLETE_UP_TO
from secagg.masking.sizes import Traffic
from training.planning import Plan, Plans

Row = tuple[str, list[str]]

_SEEN: Final = {"sum": "the sum", "updates": "[bold red]updates[/bold red]", None: "no\npromise"}
# Below this many bytes a parameter, hundredths tell schemes apart.
_FINE_BYTES: Final = 100


def show_plans(plans: Plans) -> None:
    """Print the consortium, a column for each way to run it, and the notes on them."""
    any_way = plans.ways[0]
    shape = any_way.shape
    console.print(
        f"{shape.members} hospitals, of which {shape.dropped} drop out and {any_way.colluding} collude with the "
        f"coordinator; {any_way.parameters} parameters of {shape.bits} bits; a key set-up every {shape.rounds} rounds. "
        f"A round in which fewer than {shape.threshold} hospitals answer makes no sum."
    )
    table = Table(Column(no_wrap=True), *(_title(one) for one in plans.ways))
    for section in _sections(plans.ways):
        for name, cells in section:
            table.add_row(name, *cells)
        table.add_section()
    print_table(table)
    for note in _notes(plans):
        console.print(note)


def _title(one: Plan) -> str:
    if one.shape.scheme != "mask":
        # So that the column is no wider than its numbers.
        return one.shape.scheme.replace("-", "-\n")
    return "mask:\nall" if one.shape.graph is None else "mask:\nfew"


def _sections(ways: tuple[Plan, ...]) -> Iterator[list[Row]]:
    def row(name: str, cell: Callable[[Plan], str]) -> Row:
        return name, [cell(one) for one in ways]

    yield [
        row("chosen by default", _taken),
        row("coordinator sees", lambda one: "the sum" if one.coordinator_sees == "sum" else "no sum"),
        row("with one hospital", lambda one: _SEEN[one.coordinator_with_one_hospital_sees]),
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
        row("    per parameter", lambda one: _each(one.round.bytes_up / one.parameters)),
        row("  bytes down", lambda one: size(one.round.bytes_down)),
        row("    per parameter", lambda one: _each(one.round.bytes_down / one.parameters)),
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


def _messages(traffic: Traffic) -> str:
    return f"{traffic.messages_up:.0f}, {traffic.messages_down:.0f}"


def _each(count: float) -> str:
    return f"{count:.2f} B" if count < _FINE_BYTES else size(count)


def _chance(log2: float) -> str:
    return f"2^{math.ceil(log2)}" if math.isfinite(log2) else "never"


def _notes(plans: Plans) -> Iterator[str]:
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
    if plans.ways[0].colluding and any(shape.masked for shape in shapes):
        yield (
            "With one hospital: the sum of each round. Over several rounds the two can learn one hospital's update if "
            "they forge a sum; only noise protects patients then. Transcript and logs show it afterwards."
        )
    if shapes[0].members > COMPLETE_UP_TO and any(shape.encrypted for shape in shapes):
        yield (
            "Encrypted schemes have no neighbours: every hospital exchanges keys with every other, here "
            f"{shapes[0].members * (shapes[0].members - 1):,} messages in a key set-up."
        )
    refused = next((one.optimizers_refused for one in plans.ways if one.optimizers_refused), ())
    if refused:
        yield (
            f"charter new takes no encrypted scheme for this many parameters with --server {' or '.join(refused)}: a "
            "hospital that misses sums could not catch up."
        )
    if any(shape.noise_levels for shape in shapes):
        yield (
            "Surplus noise is removed under mask only, where all mask with all. The times do not include drawing the "
            "noise."
        )
    for scheme, why in plans.left_out.items():
        yield f"{scheme} is left out. {escape(why.message)}"
    yield (
        "Bytes and messages are those of an average hospital. Times are estimated, for one core each. Memory is that "
        "of the vectors. Disk is what the coordinator keeps of every round, for good."
    )
