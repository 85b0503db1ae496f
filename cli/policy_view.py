"""How a policy that was looked at is shown: its lines, whether it is in force, and what refuses a charter."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import click
from rich.markup import escape
from rich.table import Column, Table

from cli.budget_view import UNPROTECTED
from cli.output import console, print_table
from secagg.policy.acceptance import Change, fingerprints
from secagg.printable import printable
from training.policy_check import Line, PolicyCheck

_MEMBERS: Final = "known_members"
NOT_YET: Final = (
    "It comes into force at the site's next start. It stays signed until another change is accepted: if it is taken "
    "back before that, whoever has kept both files can still put it in force."
)


def show_lines(found: PolicyCheck) -> None:
    """Every key, and who may loosen it."""
    table = Table(
        Column("key", no_wrap=True), Column(overflow="fold"), "line", title=escape(found.policy), title_justify="left"
    )
    table.columns[1].header = "allows"
    for line in found.lines:
        table.add_row(line.key, escape(line.allows), _place(line))
    print_table(table)
    _show_force(found)


def show_check(found: PolicyCheck, charter: Path | None) -> None:
    """What is wrong, if anything is; then what the ledger has."""
    if charter:
        console.print(_charter_table(found, charter))
        _show_members(found, found.members or {})
    for line in found.refusing:
        where = f"{found.policy}, line {line.line}" if line.line else f"{found.policy}, {line.key} by default"
        told = printable(f"{line.message} {line.remedy} [{line.reason}]")
        console.print(f"{where}: {told}", markup=False, soft_wrap=True)
    _show_force(found)
    for data_set in found.data_sets or ():
        style = "yellow" if data_set.alert else ""
        told = f"Data set {data_set.data_set[:16]}: {data_set.use.told()}."
        console.print(told, style=style, markup=False, soft_wrap=True)
        if data_set.unprotected:
            click.echo(UNPROTECTED)
    if found.missing:
        return
    if charter:
        told = "No: this policy refuses" if found.refusing else "Yes: this policy allows"
        click.echo(f"{told} the charter in {charter}.")
    elif found.awaits_start:
        click.echo(f"Yes: {found.policy} can be read, and comes into force at the site's next start.")
    elif found.exists:
        click.echo(f"Yes: {found.policy} can be read and is in force.")
    else:
        click.echo("Yes: the strict defaults are in force.")


def show_change(change: Change) -> None:
    """What an officer is about to sign."""
    for entry in change.loosened:
        click.echo(f"To be signed: {entry.told()}.")
    _show_new(fingerprints(change.new_officers))


def _show_force(found: PolicyCheck) -> None:
    if not found.exists:
        click.echo(f"There is no file {found.policy}: the strict defaults apply instead.")
    if found.officers:
        click.echo(
            f"To loosen it, {found.signatures} of {len(found.officers)} officers must sign: {_listed(found.officers)}."
        )
    if found.missing:
        for entry in found.loosened:
            click.echo(f"Not in force: {entry.told()}.")
        signed = f", signed by {_listed(found.signed_by)}" if found.signed_by else ""
        _show_new(found.new_officers)
        click.echo(f"No: it allows more than the policy in force{signed}. Signatures missing: {found.missing}.")
    if found.awaits_start:
        for entry in found.loosened:
            click.echo(f"Signed by {_listed(found.signed_by)}: {entry.told()}.")
        _show_new(found.new_officers)
        click.echo(NOT_YET)
    if found.head:
        click.echo(f"head {found.head}")
    elif found.officers:
        click.echo("No policy is remembered here yet: that happens when the site is set up or started.")


def _show_new(officers: list[str]) -> None:
    if officers:
        click.echo(f"New officers, whose fingerprints must be compared first: {_listed(officers)}.")


def _charter_table(found: PolicyCheck, charter: Path) -> Table:
    table = Table(
        "",
        Column("key", no_wrap=True),
        Column("needs", overflow="fold"),
        Column("allows", overflow="fold"),
        "line",
        title_justify="left",
    )
    table.title = f"What the charter in {escape(str(charter))} needs"
    for line in found.lines:
        if line.needs is not None and line.key != _MEMBERS:
            badge = "[red]refused[/red]" if line.reason else "[green]ok[/green]"
            table.add_row(badge, line.key, escape(line.needs), escape(line.allows), _place(line))
    return table


def _show_members(found: PolicyCheck, members: Mapping[str, bool]) -> None:
    """A line each, below the table: two columns of fingerprints would break them, and they are compared by eye."""
    (key,) = (line for line in found.lines if line.key == _MEMBERS)
    click.echo(f"{_MEMBERS}, line {key.line}:" if key.line else f"{_MEMBERS}, by default:")
    for fingerprint, is_known in members.items():
        told = "needed and known" if is_known else "needed, and not known here"
        console.print(f"  {fingerprint}  {told}", markup=False, soft_wrap=True)


def _place(line: Line) -> str:
    return str(line.line) if line.line else "default"


def _listed(names: list[str]) -> str:
    return ", ".join(names)
