"""`secagg charter provision`: start-up kits for hospitals in different buildings. Signing is elsewhere."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import click
from rich.markup import escape
from rich.table import Table

from cli.identity import passphrase_option
from cli.output import console, json_option, print_json, warn
from cli.paths import FOLDER
from secagg.charter.cautions import cautions
from secagg.charter.folder import read_verified
from secagg.passphrase import read_passphrase
from training.engines.nvflare.provisioning import DEFAULT_PORT, KITS, STATE, Address, MadeKit, provision


@click.command(name="provision")
@click.argument("folder", type=FOLDER, default="charter")
@click.option("--host", required=True, help="Name or IPv4 address by which hospitals reach the coordinator's server.")
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    default=DEFAULT_PORT,
    show_default=True,
    help="The one port that the server listens on.",
)
@click.option(
    "--out", type=FOLDER, required=True, help="Folder for the kits, and for the certificate authority that signs them."
)
@passphrase_option
@json_option
def provision_command(
    folder: Path, host: str, port: int, out: Path, passphrase_file: Path | None, as_json: bool
) -> None:
    """Make a start-up kit for every member of the charter in FOLDER, and two for the coordinator.

    Run it on a member's machine, never on the coordinator's: whoever has OUT/state can make certificates. The kits are
    hardened: no custom code, only one class, only signed jobs, no log streaming. Before the certificates expire, move
    OUT/kits away and run it again: the new kits come from the same certificate authority.

    \b
    Example:
      secagg charter provision charter --host sum.example.org --port 8002 --out provisioned
    """
    charter, passphrase = read_verified(folder), read_passphrase(passphrase_file)
    warnings = list(cautions(charter.charter))
    made = provision(charter, Address(host, port), out, passphrase, warnings.append)
    if as_json:
        result = {"kits": [_plain(entry) for entry in made], "state": str(out / STATE), "warnings": warnings}
        print_json(result | _of_authority(made))
        return
    warn(warnings)
    console.print(_table(made, out / KITS))
    authority = _of_authority(made)
    click.echo(f"root certificate  SHA-256 {authority['authority']}")
    click.echo(f"                  valid until {authority['authority_expires']}; compare it over the telephone")
    click.echo(f"Keep {out / STATE} here and secret: whoever has it can make certificates. It is in no kit.")
    click.echo(
        f"Hand out each folder of {out / KITS} over a channel that you trust, and delete it here: it holds a private "
        "key."
    )


def _table(made: tuple[MadeKit, ...], kits: Path) -> Table:
    table = Table("kit", "for", "name", "valid until", title=f"Kits in {escape(str(kits))}", title_justify="left")
    for entry in made:
        kit = entry.kit
        table.add_row(str(kit.folder.relative_to(kits)), escape(entry.recipient), kit.name, _day(kit.expires))
    return table


def _plain(entry: MadeKit) -> dict[str, str]:
    kit = entry.kit
    return {
        "folder": str(kit.folder),
        "for": entry.recipient,
        "role": kit.role.value,
        "name": kit.name,
        "expires": _day(kit.expires),
    }


def _of_authority(made: tuple[MadeKit, ...]) -> dict[str, str]:
    kit = made[0].kit
    return {"authority": kit.authority, "authority_expires": _day(kit.authority_expires)}


def _day(moment: datetime) -> str:
    return moment.date().isoformat()
