"""`secagg budget`: what a site's data sets have spent, and whether its ledger is whole."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click
import msgspec
from rich.table import Table

from cli.budget_plan import plan
from cli.identity import passphrase_option, public_key_option, read_passphrase, site_key
from cli.output import console, json_option, print_json, say_whole
from dp.ledger import Entry, Spending, read_ledger
from dp.ledger.entries import LEDGER
from dp.ledger.spending import cost_epsilon, spending_of
from secagg.errors import InputError
from secagg.identity import Identity
from secagg.policy import load_policy
from training.hospital_folder import HospitalFolder

_FOLDER = click.argument("folder", type=click.Path(path_type=Path, file_okay=False), default=".")


class RunJson(msgspec.Struct, frozen=True):
    """One run on a data set; ``epsilon`` is null where it had no differential privacy."""

    charter: str
    rounds: int
    state: str
    epsilon: float | None


class DataSetJson(msgspec.Struct, frozen=True):
    """What one data set has spent; ``epsilon`` composes its runs."""

    data_set: str
    epsilon: float
    delta: float
    budget: float
    left: float
    runs: list[RunJson]


@click.group()
def budget() -> None:
    """This site's privacy budget.

    \b
    Examples:
      secagg budget show run/hospitals/aachen
      secagg budget plan --charter charter
    """


budget.add_command(plan)


@budget.command()
@_FOLDER
@passphrase_option
@json_option
def show(folder: Path, passphrase_file: Path | None, as_json: bool) -> None:
    """Show what the data sets of the hospital in FOLDER have spent, and what is left by its policy.

    \b
    Example:
      secagg budget show run/hospitals/aachen
    """
    place = HospitalFolder(folder)
    identity = Identity.load(place.identity, read_passphrase(passphrase_file))
    entries = _read(place.ledger, identity.public_key)
    limit = load_policy(place.policy).maximum_epsilon
    data_sets = [_describe(spending_of(entries, name), entries, limit) for name in _names(entries)]
    if as_json:
        print_json(data_sets)
    elif not data_sets:
        click.echo("Nothing has been spent.")
    for data_set in [] if as_json else data_sets:
        console.print(_table(data_set))


@budget.command()
@_FOLDER
@public_key_option
@passphrase_option
@json_option
def verify(folder: Path, public_key: str | None, passphrase_file: Path | None, as_json: bool) -> None:
    """Check that no entry of the ledger in FOLDER was changed, removed or moved.

    An older copy of the whole file cannot be told from the file alone: compare the head with one noted elsewhere.

    \b
    Example:
      secagg budget verify run/hospitals/aachen
    """
    place = HospitalFolder(folder)
    entries = _read(place.ledger, site_key(place.identity, public_key, passphrase_file))
    head = LEDGER.head(entries) if entries else "empty"
    if as_json:
        print_json({"verified": True, "entries": len(entries), "head": head})
        return
    say_whole(len(entries), head)


def _read(path: Path, public_key: bytes) -> tuple[Entry, ...]:
    if not path.exists():
        raise InputError(
            "no-ledger",
            f"There is no ledger at {path}.",
            culprit=str(path),
            remedy="Give a hospital's folder; it has a ledger once it has trained with differential privacy.",
        )
    return read_ledger(path, public_key)


def _names(entries: Sequence[Entry]) -> list[str]:
    return list(dict.fromkeys(entry.data_set for entry in entries))


def _describe(spending: Spending, entries: Sequence[Entry], limit: float) -> DataSetJson:
    delta = max(entry.delta for entry in entries if entry.data_set == spending.data_set)
    spent = spending.epsilon(delta)
    runs = [
        RunJson(
            run.run,
            run.rounds,
            "closed" if run.closed else "open",
            None if run.unprotected else cost_epsilon(run.counted, delta),
        )
        for run in spending.runs
    ]
    return DataSetJson(spending.data_set, spent, delta, limit, max(0.0, limit - spent), runs)


def _table(data_set: DataSetJson) -> Table:
    title = (
        f"Data set {data_set.data_set[:16]}: epsilon {data_set.epsilon:.3f} of {data_set.budget:g} spent "
        f"(delta {data_set.delta:g}), {data_set.left:.3f} left"
    )
    table = Table("charter", "rounds", "state", "epsilon", title=title, title_justify="left")
    for run in data_set.runs:
        spent = "no protection: not covered by any epsilon" if run.epsilon is None else f"{run.epsilon:.3f}"
        table.add_row(run.charter[:16], str(run.rounds), run.state, spent)
    return table
