"""`secagg hospital check`: what a site's start-up kit refuses, tried, and whether its records are there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
from rich.markup import escape
from rich.table import Column, Table

from cli.output import console, json_option, print_json, unmarked
from cli.paths import FOLDER
from secagg.errors import RefusedError
from training.engines.nvflare.hardening_check import check_kit
from training.engines.nvflare.kit import Kit, read_kit
from training.engines.nvflare.kit_check import KitCheck
from training.engines.nvflare.process import require_startable
from training.field.hospital_site import HospitalSite


@click.command(short_help="Test that this site's start-up kit refuses hostile jobs.")
@click.argument("site", type=FOLDER)
@json_option
@click.pass_context
def check(context: click.Context, site: Path, as_json: bool) -> None:
    """Test whether this site's start-up kit, in SITE/kit, refuses hostile jobs, and say what is not as it should be.

    Also whether anything is where SITE/hospital.toml says that the records are. They are not opened.

    Jobs that a hostile coordinator would send are given to NVFlare's own code: unsigned, altered, from another
    authority, with code or classes of their own. Nothing is sent, and the kit is only read.

    Exit code 3 if any point is not as it should be.

    \b
    Example:
      secagg hospital check /var/lib/secagg
    """
    place = HospitalSite(site)
    place.require_whole()
    kit = read_kit(place.kit)
    require_startable(kit.folder)
    checks = [*_records(place), *check_kit(kit)]
    wrong = [one for one in checks if not one.good]
    if as_json:
        print_json({"good": not wrong, **_plain(kit), "points": checks})
    else:
        _show(kit, checks)
    context.exit(RefusedError.exit_code if wrong else 0)


def _records(site: HospitalSite) -> Iterator[KitCheck]:
    """Whether the records are there; nothing of a kit that is in no site yet."""
    if site.settings.exists():
        missing = site.records_missing()
        found = f"nothing can be found at {missing.culprit}" if missing else "something is there"
        remedy = missing.remedy or "" if missing else ""
        yield KitCheck("the records are where hospital.toml says", not missing, found, remedy)


def _show(kit: Kit, checks: list[KitCheck]) -> None:
    who = f"{kit.name}, connects to {kit.host} port {kit.port}"
    console.print(f"{escape(str(kit.folder))}: {unmarked(who)}", soft_wrap=True)
    table = Table("", Column(overflow="fold"), Column(overflow="fold"), show_header=False)
    for one in checks:
        badge = "[green]ok[/green]" if one.good else "[red]not ok[/red]"
        told = f"{one.found}. {one.remedy}" if one.remedy else one.found
        table.add_row(badge, one.point, unmarked(told))
    console.print(table)
    # Below the table, which would break it: it is compared over the telephone.
    click.echo(f"root certificate  SHA-256 {kit.authority}")
    wrong = sum(not one.good for one in checks)
    if wrong:
        click.echo(f"No: {wrong} of {len(checks)} points are not as they should be. Do not start this site.")
    else:
        click.echo(f"Yes: all {len(checks)} points are as they should be.")


def _plain(kit: Kit) -> dict[str, object]:
    return {
        "kit": str(kit.folder),
        "name": kit.name,
        "host": kit.host,
        "port": kit.port,
        "expires": kit.expires.date().isoformat(),
        "authority": kit.authority,
    }
