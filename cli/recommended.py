"""What `secagg plan` recommends, in words and as JSON, and the command that makes a charter of it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

import msgspec
from rich.markup import escape
from rich.table import Table

from cli.output import console, warn
from cli.sizing import duration
from secagg.charter.cautions import Caution
from training.recommending.reasons import Choice
from training.recommending.recommendation import Recommendation, RoundTime

COMMAND = "secagg charter new charter --task TASK.toml --member NAME=KEY ..."


class RecommendationJson(msgspec.Struct, frozen=True):
    """What is recommended.

    Attributes:
        options: of `secagg charter new`, which also takes a task and the members.
        seconds_round: one after the other, set-ups shared out over their rounds; null where a plan has no times.
        fits: whether that is within what was asked for; null where nothing was.
        parameters_that_fit: where it is not.
    """

    choices: tuple[Choice, ...]
    options: tuple[str, ...]
    round_time: RoundTime
    seconds_round: float
    fits: bool | None
    parameters_that_fit: int | None
    warnings: tuple[Caution, ...]


def as_json(found: Recommendation) -> RecommendationJson:
    """The same, to be printed."""
    time = found.round_time
    return RecommendationJson(
        found.choices, found.options, time, time.total, found.fits, found.shortest, found.cautions
    )


def show(found: Recommendation) -> None:
    """Print the choices, each with its reason, and the command; warn of what was given."""
    warn(found.cautions)
    console.print("[bold]Recommended[/bold]")
    table = Table.grid(padding=(0, 2))
    for choice in found.choices:
        table.add_row(choice.what, f"[bold]{escape(choice.value)}[/bold]")
        table.add_row("", escape(choice.why))
        if choice.instead:
            table.add_row("", f"Instead: {escape(choice.instead)}")
    console.print(table)
    for line in _round(found):
        console.print(line)
    console.print("With your task and members, this command drafts the charter:")
    # As it is: a line that is broken somewhere else could not be pasted.
    for line in command_lines(found):
        console.print(line, soft_wrap=True, markup=False)


def command_lines(found: Recommendation) -> Iterator[str]:
    """The command, an option and its value to a line."""
    pairs = list(zip(found.options[::2], found.options[1::2], strict=True))
    yield f"{COMMAND} \\"
    for index, (option, value) in enumerate(pairs):
        yield f"    {option} {shlex.quote(value)}" + (" \\" if index + 1 < len(pairs) else "")


def _round(found: Recommendation) -> Iterator[str]:
    time = found.round_time
    parts = {"for the transfer": time.transfer, "at a hospital": time.hospital, "at the coordinator": time.coordinator}
    told = ", ".join(f"{duration(seconds)} {where}" for where, seconds in parts.items())
    yield (
        f"A round takes about {duration(time.total)} besides the training itself: {told}, and {duration(time.set_up)} "
        "for its share of a key set-up."
    )
    if found.fits is False:
        fitting = f"{found.shortest:,} parameters would fit" if found.shortest else "no model would fit"
        yield (
            f"[bold red]Longer than you asked for:[/bold red] {fitting}. Train fewer of them (last layer, LoRA: "
            "docs/task-reference.md), or use a faster line."
        )
    elif found.fits:
        yield "That is within what you asked for."
