"""`secagg audit transcript`: every sum of a run recomputed from what the coordinator kept."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec
from rich.table import Table

from cli.output import console, json_option, print_json, size
from secagg.charter.folder import read_verified
from secagg.errors import TamperingError
from secagg.transcript import EpochAudit, Finding, audit_epoch, read_events, transcript_files


class RoundJson(msgspec.Struct, frozen=True):
    """One round; ``sum_sha256`` is null where it gave no sum."""

    epoch: int
    round: int
    purpose: str
    survivors: tuple[str, ...]
    sum_sha256: str | None


class TranscriptJson(msgspec.Struct, frozen=True):
    """The whole audit."""

    charter: str
    whole: bool
    rounds: list[RoundJson]
    findings: list[Finding]
    messages: int
    bytes: int
    refused: int


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--charter",
    "charter_folder",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Folder of the charter, signed by all.",
)
@json_option
@click.pass_context
def transcript(context: click.Context, folder: Path, charter_folder: Path, as_json: bool) -> None:
    """Recompute every sum from the messages in FOLDER, a coordinator's transcript, and name what does not fit.

    Nothing but the charter is trusted. Exit code 4 if anything does not fit.

    \b
    Example:
      secagg audit transcript run/coordinator/transcript --charter run/charter
    """
    charter = read_verified(charter_folder)
    audits = [audit_epoch(read_events(path), charter) for path in transcript_files(folder)]
    findings = [finding for audit in audits for finding in audit.findings]
    found = _describe(charter.digest.hex(), audits, findings)
    if as_json:
        print_json(found)
    else:
        _show(found, len(charter.charter.members))
    context.exit(TamperingError.exit_code if findings else 0)


def _describe(charter: str, audits: list[EpochAudit], findings: list[Finding]) -> TranscriptJson:
    return TranscriptJson(
        charter=charter,
        whole=not findings,
        rounds=[
            RoundJson(audit.epoch, record.round, record.purpose, record.survivors, record.payload_sha256)
            for audit in audits
            for record in audit.rounds
        ],
        findings=findings,
        messages=sum(audit.messages for audit in audits),
        bytes=sum(audit.bytes for audit in audits),
        refused=sum(audit.refused for audit in audits),
    )


def _show(found: TranscriptJson, members: int) -> None:
    table = Table("epoch", "round", "of", "in the sum", "the sum, SHA-256", title="Recomputed", title_justify="left")
    for row in found.rounds:
        cohort = f"{len(row.survivors)} of {members}" if row.sum_sha256 else "no sum"
        table.add_row(str(row.epoch), str(row.round), row.purpose, cohort, (row.sum_sha256 or "-")[:16])
    console.print(table)
    refused = f", {found.refused} refused" if found.refused else ""
    click.echo(f"{found.messages} messages of hospitals, {size(found.bytes)}{refused}.")
    for finding in found.findings:
        click.echo(f"{finding.message} [{finding.reason}]")
    if found.whole:
        sums = sum(row.sum_sha256 is not None for row in found.rounds)
        click.echo(f"Yes: all {sums} sums are what the hospitals' messages add up to.")
    else:
        click.echo("No: the transcript does not fit together. What is listed after a misfit was not judged.")
