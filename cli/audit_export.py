"""`secagg audit export`: what a site chooses to show the consortium."""

from __future__ import annotations

from pathlib import Path

import click

from cli.identity import load_identity, passphrase_option
from cli.output import json_option, print_json, say_found
from cli.paths import FILE, FOLDER, charter_option
from dp.ledger.entries import LEDGER
from secagg.charter.folder import read_verified
from secagg.errors import TamperingError
from secagg.files import create_atomically
from training.hospital_folder import HospitalFolder
from training.hospital_logs import require_hospital
from training.reporting.evidence import gather_for_others


@click.command()
@click.argument("folder", type=FOLDER, default=".")
@charter_option
@click.option("--out", type=FILE, required=True, help="The file to write.")
@passphrase_option
@json_option
@click.pass_context
def export(
    context: click.Context, folder: Path, charter_folder: Path, out: Path, passphrase_file: Path | None, as_json: bool
) -> None:
    """Export the signed entries in ledger and egress log that the hospital in FOLDER has of one charter.

    Every other entry is replaced by its hash, so that the length of each log is shown, and no entry can be moved or
    exchanged. That no hash stands for an entry of this charter is the site's word: `secagg audit report` compares it
    with the release and the transcript. The site's budget, its other runs and the number of its patients are not
    exported. `secagg audit egress` reads it too.

    \b
    Example:
      secagg audit export run/hospitals/aachen --charter run/charter --out aachen-export.json
    """
    charter = read_verified(charter_folder)
    place = HospitalFolder(folder)
    require_hospital(place, place.ledger, LEDGER)
    signed = gather_for_others(place, charter, load_identity(place.identity, passphrase_file))
    create_atomically(out, signed.to_json())
    evidence = signed.evidence
    shown = {
        name: f"{len(excerpt.shown)} of {excerpt.checkpoint.entries}" if excerpt else None
        for name, excerpt in (("ledger", evidence.ledger), ("egress log", evidence.egress))
    }
    if as_json:
        print_json({"path": str(out), "member": evidence.member, "shown": shown, "problems": evidence.problems})
    else:
        for problem in evidence.problems:
            say_found(problem.message, problem.reason)
        entries = ", ".join(
            f"{name}: {f'{count} entries' if count else 'none, as it was tampered with'}"
            for name, count in shown.items()
        )
        click.echo(f"Written to {out}, signed by {evidence.member}. {entries}.")
    context.exit(TamperingError.exit_code if evidence.problems else 0)
