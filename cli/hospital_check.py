"""`secagg hospital check`: what a site's start-up kit refuses, tried."""

from __future__ import annotations

from pathlib import Path

import click
from rich.markup import escape
from rich.table import Column, Table

from cli.output import console, json_option, print_json, unmarked
from secagg.errors import RefusedError
from training.engines.nvflare.finding import Finding
from training.engines.nvflare.hardening_check import check_kit
from training.engines.nvflare.kit import Kit, read_kit
from training.hospital_folder import HospitalFolder


@click.command()
@click.argument("site", type=click.Path(path_type=Path, file_okay=False))
@json_option
@click.pass_context
def check(context: click.Context, site: Path, as_json: bool) -> None:
    """Try what this site's kit, in SITE/kit, refuses, and say what is not as it should be.

    Jobs that a hostile coordinator would send are given to NVFlare's own code: unsigned, altered, of another
    authority, with code or classes of their own. Nothing is sent, and the kit is only read.

    Exit code 3 if any point is not as it should be.

    \b
    Example:
      secagg hospital check /var/lib/secagg
    """
    kit = read_kit(HospitalFolder(site).kit)
    findings = check_kit(kit)
    wrong = [finding for finding in findings if not finding.good]
    if as_json:
        print_json({"good": not wrong, **_plain(kit), "points": findings})
    else:
        _show(kit, findings)
    context.exit(RefusedError.exit_code if wrong else 0)


def _show(kit: Kit, findings: list[Finding]) -> None:
    who = f"{kit.name}, dials {kit.host} port {kit.port}"
    console.print(f"{escape(str(kit.folder))}: {unmarked(who)}", soft_wrap=True)
    table = Table("", Column(overflow="fold"), Column(overflow="fold"), show_header=False)
    for finding in findings:
        badge = "[green]ok[/green]" if finding.good else "[red]not ok[/red]"
        told = f"{finding.found}. {finding.remedy}" if finding.remedy else finding.found
        table.add_row(badge, finding.point, unmarked(told))
    console.print(table)
    wrong = sum(not finding.good for finding in findings)
    if wrong:
        click.echo(f"No: {wrong} of {len(findings)} points are not as they should be. Do not start this site.")
    else:
        click.echo(f"Yes: all {len(findings)} points are as they should be.")


def _plain(kit: Kit) -> dict[str, object]:
    return {
        "kit": str(kit.folder),
        "name": kit.name,
        "host": kit.host,
        "port": kit.port,
        "expires": kit.expires.date().isoformat(),
        "authority": kit.authority,
    }
