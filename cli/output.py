"""How results reach the terminal: one console, one way to print JSON, and how numbers are written for people."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

import click
import msgspec
from rich.console import Console
from rich.markup import escape
from rich.measure import Measurement
from rich.progress import Progress, ProgressColumn
from rich.table import Table

from cli.json_text import json_text
from dp.stated import no_less
from secagg.charter import VerifiedCharter
from secagg.charter.cautions import Caution
from secagg.printable import printable

# Without emoji: the :CD: of a fingerprint would be printed as a picture of a disc.
console = Console(highlight=False, emoji=False)
progress_console = Console(stderr=True, highlight=False, emoji=False)

# What is printed for the head of a log without entries, and can be noted.
NO_HEAD: Final = "empty"
_KILO = 1000.0
# In which every cell has the room that it could use.
_ANY_WIDTH: Final = 10_000


def quiet_progress(*columns: ProgressColumn) -> Progress:
    """A progress bar on standard error, gone at its end."""
    # Where nobody watches, standard error holds errors and nothing else.
    return Progress(*columns, console=progress_console, transient=True, disable=not progress_console.is_terminal)


def print_table(table: Table) -> None:
    """Print a table whole: wider than the terminal where figures would have no place in it."""
    anywhere = console.options.update(width=_ANY_WIDTH)
    for column in table.columns:
        needs = [Measurement.get(console, anywhere, cell) for cell in (column.header, *column.cells)]
        column.min_width = max(need.maximum if column.no_wrap else need.minimum for need in needs)
    console.print(table, crop=False)


def unmarked(text: str) -> str:
    """Text of others for a table or the console: no markup in it, and nothing that a terminal acts on or hides."""
    return escape(printable(text))


def say_found(message: str, reason: str) -> None:
    """What is said of a thing that does not fit, where others may have had a hand in the words."""
    click.echo(printable(f"{message} [{reason}]"))


def say_why(message: str | None, remedy: str | None, reason: str) -> None:
    """Why a site is as it is, a line of its status."""
    why = printable(f"{message} {remedy or ''} [{reason}]")
    console.print(f"why       {why}", markup=False, soft_wrap=True)


def json_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds ``--json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")(function)


def print_json(result: object) -> None:
    """Print a struct, dataclass or dictionary as indented JSON; a verified charter as its hash."""
    click.echo(msgspec.json.format(json_text(result, _plain), indent=2).decode())


def warn(cautions: Iterable[Caution]) -> None:
    """Tell each on a line of standard error, so that it is read also where the result goes into a file."""
    for caution in cautions:
        line = printable(f"Warning: {caution.told()}")
        progress_console.print(line, style="bold yellow", markup=False, soft_wrap=True)


def say_whole(entries: int, head: str) -> None:
    """What is said of a signed log that was verified."""
    click.echo(f"Yes: all {entries} entries are intact, in order and signed by this site.")
    click.echo(f"head {head}")


def warn_of_no_latch(log: str, remedy: str) -> None:
    """What is told of a signed log in a folder whose latch does not know how far it had come."""
    unknown = "that no later entries were cut off could not be checked"
    message = f"There is no latch beside it that has seen this {log}: {unknown}."
    warn([Caution("no-latch", message, remedy)])


def say_part(log: str, charter: str, entries: int, length: int) -> None:
    """What is said of a signed log of which the entries of one charter are shown, and were verified."""
    click.echo(
        f"Yes: these {entries} of {length} entries, those of charter {charter[:16]}, are intact, in order and signed "
        "by this site."
    )
    if entries < length:
        click.echo(
            f"This is a part of the {log}: that it has no other entries of this charter is only the site's word."
        )


def percent(fraction: float | None) -> str:
    """0.9531 as ``95.3 %``."""
    return "-" if fraction is None else f"{100 * fraction:.1f} %"


def score(value: float | None) -> str:
    """An AUC, three digits."""
    return "-" if value is None else f"{value:.3f}"


def epsilon(value: float | None) -> str:
    """An epsilon, two digits, rounded up; ``none`` where there is no differential privacy."""
    return "none" if value is None else no_less(value, 2)


def counted(count: int, thing: str) -> str:
    """So many things: ``1 sum``, ``2 sums``; of words that take an s."""
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"


def size(count: float) -> str:
    """A number of bytes: 12,345 as ``12.3 kB``."""
    if count < _KILO:
        return f"{count:.0f} B"
    for unit in ("kB", "MB"):
        count /= _KILO
        if count < _KILO:
            return f"{count:.1f} {unit}"
    return f"{count / _KILO:.1f} GB"


def _plain(value: object) -> str:
    return value.digest.hex() if isinstance(value, VerifiedCharter) else str(value)
