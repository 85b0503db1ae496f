"""`secagg audit transcript`: every sum of a run recomputed from what the coordinator kept."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec
from rich.table import Table

from cli.output import console, json_option, print_json, say_found, size
from cli.paths import FOLDER, charter_option
from secagg.charter import VerifiedCharter
from secagg.charter.folder import read_verified
from secagg.egress import read_egress
from secagg.errors import TamperingError
from secagg.masking import Purpose
from secagg.release.checkpoints import VerifiedCheckpoints, read_checkpoints, signed_transcript
from secagg.transcript import Finding, HospitalRecord, TranscriptAudit, audit_folder, compare_all
from training.noise import noise_expansion
from training.reporting.rounds import altered_files


class RoundJson(msgspec.Struct, frozen=True):
    """One round; ``sum_sha256`` is null where it gave no sum."""

    epoch: int
    round: int
    purpose: Purpose
    survivors: tuple[str, ...]
    sum_sha256: str | None


class TranscriptJson(msgspec.Struct, frozen=True):
    """The whole audit.

    Attributes:
        unfinished: epochs that end in the middle, as where a coordinator was killed.
    """

    charter: str
    whole: bool
    rounds: list[RoundJson]
    findings: list[Finding]
    messages: int
    bytes: int
    refused: int
    unfinished: list[int]


@click.command()
@click.argument("folder", type=FOLDER)
@charter_option
@click.option(
    "--egress",
    "logs",
    multiple=True,
    help="NAME=FILE: a member's egress log to compare with. Can be repeated.",
)
@click.option("--release", type=FOLDER, help="Folder of the release, where hospitals have signed for the transcript.")
@json_option
@click.pass_context
def transcript(
    context: click.Context,
    folder: Path,
    charter_folder: Path,
    logs: tuple[str, ...],
    release: Path | None,
    as_json: bool,
) -> None:
    """Recompute every sum from the messages in FOLDER, a coordinator's transcript, and name what does not fit.

    Nothing but the charter is trusted. With a member's own egress log it is also checked that the member took the sums
    that were recomputed, and sent the messages that are there; with the release, that nothing has changed of what
    hospitals signed for at the end of the run. What was added since is not covered by that. Exit code 4 if anything
    does not fit.

    \b
    Examples:
      secagg audit transcript run/coordinator/transcript --charter run/charter
      secagg audit transcript run/coordinator/transcript --charter run/charter \\
          --egress aachen=run/hospitals/aachen/egress.sqlite
    """
    charter = read_verified(charter_folder)
    records = [_record(text, charter) for text in logs]
    checkpoints = read_checkpoints(release, charter) if release else None
    noted = signed_transcript(checkpoints, charter.charter)
    audit = audit_folder(folder, charter, noise_expansion(charter.charter))
    findings = [
        *(_not_vouched_for(checkpoints) if checkpoints and not noted else ()),
        *(Finding(0, 0, altered.reason, altered.message) for altered in altered_files(folder, noted)),
        *audit.findings,
        *compare_all(audit.epochs, records),
    ]
    found = _describe(charter.digest.hex(), audit, findings)
    if as_json:
        print_json(found)
    else:
        _show(found, len(charter.charter.members))
    context.exit(TamperingError.exit_code if findings else 0)


def _not_vouched_for(checkpoints: VerifiedCheckpoints) -> tuple[Finding]:
    signed = len(checkpoints.cosigned_by)
    what = f"The release does not vouch for the transcript: {signed} hospitals have signed for one, which are too few."
    if not checkpoints.transcript:
        what = "The release does not vouch for the transcript: what the hospitals have signed names no file of it."
    return (Finding(0, 0, "transcript-not-vouched-for", what),)


def _record(text: str, charter: VerifiedCharter) -> HospitalRecord:
    name, _, path = text.partition("=")
    number = charter.charter.number_of(name)
    entries = read_egress(Path(path), charter.charter.member(number).public_key)
    return HospitalRecord.read(name, charter, entries)


def _describe(charter: str, audit: TranscriptAudit, findings: list[Finding]) -> TranscriptJson:
    epochs = audit.epochs
    return TranscriptJson(
        charter=charter,
        whole=not findings,
        rounds=[
            RoundJson(epoch.epoch, record.round, record.purpose, record.survivors, record.payload_sha256)
            for epoch in epochs
            for record in epoch.rounds
        ],
        findings=findings,
        messages=sum(epoch.messages for epoch in epochs),
        bytes=sum(epoch.bytes for epoch in epochs),
        refused=sum(epoch.refused for epoch in epochs),
        unfinished=[epoch.epoch for epoch in epochs if epoch.unfinished],
    )


def _show(found: TranscriptJson, members: int) -> None:
    table = Table(
        "epoch", "round", "purpose", "in the sum", "the sum, SHA-256", title="Recomputed", title_justify="left"
    )
    for row in found.rounds:
        cohort = f"{len(row.survivors)} of {members}" if row.sum_sha256 else "no sum"
        table.add_row(str(row.epoch), str(row.round), row.purpose, cohort, (row.sum_sha256 or "-")[:16])
    console.print(table)
    refused = f"; refused: {found.refused}" if found.refused else ""
    click.echo(f"{found.messages} messages from hospitals, {size(found.bytes)}{refused}.")
    for epoch in found.unfinished:
        click.echo(f"Epoch {epoch} is incomplete: the coordinator was interrupted there, or the end was removed.")
    for finding in found.findings:
        say_found(finding.message, finding.reason)
    if found.whole:
        sums = sum(row.sum_sha256 is not None for row in found.rounds)
        click.echo(f"Yes: all {sums} sums are what the hospitals' messages add up to.")
    else:
        click.echo("No: the transcript does not fit together. In an epoch, nothing after the first misfit was checked.")
