"""`secagg audit transcript`: every sum of a run recomputed from what the coordinator kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import click
import msgspec
from rich.table import Table

from cli.output import console, json_option, print_json, print_table, say_found, size, unmarked
from cli.paths import FOLDER, charter_option
from secagg.charter import VerifiedCharter
from secagg.charter.folder import read_verified
from secagg.errors import TamperingError
from secagg.masking import Purpose
from secagg.release.folder import STATEMENT_FILE
from secagg.transcript import Finding as Misfit
from training.reporting.cross_check import CrossCheck, cross_check
from training.reporting.findings import Finding
from training.reporting.rounds import RefusalFacts, alike
from training.reporting.shown_log import ShownLog, read_shown_log
from training.reporting.since_the_end import OLD_COPY, OLD_EXPORT, TAKEN_LATER


class RoundJson(msgspec.Struct, frozen=True):
    """One round; ``sum_sha256`` is null where it gave no sum."""

    epoch: int
    round: int
    purpose: Purpose
    survivors: tuple[str, ...]
    sum_sha256: str | None


class LogJson(msgspec.Struct, frozen=True):
    """A hospital's log, as it was given.

    Attributes:
        sums: of the transcript, which it shows too.
        entries: that are shown; ``hidden``: of which there is only a hash.
        unnoted: whether a release was given, and has no checkpoint of it.
    """

    member: str
    sums: int
    entries: int
    hidden: int
    unnoted: bool


class TranscriptJson(msgspec.Struct, frozen=True):
    """The whole audit.

    Attributes:
        refused: messages that the coordinator did not take; ``refusals``: what hospitals did not, in their own words.
        unfinished: epochs that end in the middle, as where a coordinator was killed.
        unstated: whether a release was given that has no statement: then it was not checked whether sums are missing
            at the end.
        signed_bytes: how many of ``file_bytes``, those of the transcript's files, enough hospitals have signed for.
    """

    charter: str
    whole: bool
    rounds: list[RoundJson]
    findings: list[Misfit]
    messages: int
    bytes: int
    refused: int
    refusals: list[RefusalFacts]
    logs: list[LogJson]
    unfinished: list[int]
    unstated: bool
    signed_bytes: int
    file_bytes: int


@click.command()
@click.argument("folder", type=FOLDER)
@charter_option
@click.option(
    "--egress",
    "logs",
    multiple=True,
    help="NAME=FILE: a member's egress log, or what it has exported of it, to compare with. Can be repeated.",
)
@click.option(
    "--release", type=FOLDER, help="Folder of the release, where hospitals have signed for sums and transcript."
)
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

    Nothing but the charter is trusted. A coordinator that rewrites its transcript can leave sums out of it. With the
    release it is therefore also checked that there are as many sums, of the same hospitals, as its contributors have
    signed for, and that no file has changed since hospitals signed for it at the end of the run. With a member's own
    egress log, or the file that it wrote with `secagg audit export`, it is checked that the member took the sums that
    were recomputed, and sent the messages that are there. A log can be rewritten too, by whoever has the member's key:
    with the release it must begin as the one that the member signed for at the end of the run. One that does not is
    named, and compared with nothing, as is a sum that was added to it later. Exit code 4 if anything does not fit.

    \b
    Examples:
      secagg audit transcript run/coordinator/transcript --charter run/charter
      secagg audit transcript run/coordinator/transcript --charter run/charter \\
          --release run/release --egress aachen=aachen-export.json
    """
    charter = read_verified(charter_folder)
    shown = _read_logs(logs, charter)
    checked = cross_check(folder, charter, release, shown)
    found = _describe(charter.digest.hex(), checked, shown)
    if as_json:
        print_json(found)
    else:
        _show(found, len(charter.charter.members))
        for finding in checked.findings:
            remedy = finding.remedy if isinstance(finding, Finding) else None
            say_found(" ".join(filter(None, (finding.message, remedy))), finding.reason)
        if checked.unstated:
            click.echo(f"The release has no {STATEMENT_FILE}: whether sums are missing at the end was not checked.")
        click.echo(_verdict(checked, found.logs))
    context.exit(TamperingError.exit_code if checked.findings else 0)


def _read_logs(logs: tuple[str, ...], charter: VerifiedCharter) -> list[ShownLog]:
    shown: dict[str, ShownLog] = {}
    for text in logs:
        name, separator, path = text.partition("=")
        if not separator:
            raise click.UsageError(f"--egress takes NAME=FILE, a member's name and its log, and {text} has no =.")
        if name in shown:
            raise click.UsageError(f"--egress was given twice for {name}.")
        shown[name] = read_shown_log(Path(path), name, charter)
    return list(shown.values())


def _describe(charter: str, checked: CrossCheck, shown: Sequence[ShownLog]) -> TranscriptJson:
    epochs = checked.audit.epochs
    return TranscriptJson(
        charter=charter,
        whole=not checked.findings,
        rounds=[
            RoundJson(epoch.epoch, record.round, record.purpose, record.survivors, record.payload_sha256)
            for epoch in epochs
            for record in epoch.rounds
        ],
        findings=[_of_a_round(finding) for finding in checked.findings],
        messages=sum(epoch.messages for epoch in epochs),
        bytes=sum(epoch.bytes for epoch in epochs),
        refused=sum(epoch.refused for epoch in epochs),
        refusals=list(checked.refusals),
        logs=[
            LogJson(
                log.member,
                len(checked.compared.get(log.member, ())),
                len(log.excerpt.shown),
                len(log.excerpt.hidden),
                log.member in checked.unnoted,
            )
            for log in shown
        ],
        unfinished=[epoch.epoch for epoch in epochs if epoch.unfinished],
        unstated=checked.unstated,
        signed_bytes=checked.signed_bytes,
        file_bytes=checked.file_bytes,
    )


def _of_a_round(found: Misfit | Finding) -> Misfit:
    """What is of no round, said to be of round 0."""
    return Misfit(0, 0, found.reason, found.message) if isinstance(found, Finding) else found


def _show(found: TranscriptJson, members: int) -> None:
    table = Table(
        "epoch", "round", "purpose", "in the sum", "the sum, SHA-256", title="Recomputed", title_justify="left"
    )
    for row in found.rounds:
        cohort = f"{len(row.survivors)} of {members}" if row.sum_sha256 else "no sum"
        table.add_row(str(row.epoch), str(row.round), row.purpose, cohort, (row.sum_sha256 or "-")[:16])
    print_table(table)
    refused = f"; refused: {found.refused}" if found.refused else ""
    click.echo(f"{found.messages} messages from hospitals, {size(found.bytes)}{refused}.")
    if found.signed_bytes:
        click.echo(f"Its files have {found.file_bytes:,} bytes; hospitals have signed for {found.signed_bytes:,}.")
    _show_refusals(found.refusals)
    for log in found.logs:
        _show_log(log)
    for epoch in found.unfinished:
        click.echo(f"Epoch {epoch} is incomplete: the coordinator was interrupted there, or the end was removed.")


def _show_refusals(refusals: Sequence[RefusalFacts]) -> None:
    if not refusals:
        return
    table = Table("hospital", "reason", "round", "times", "the first time", title="Refused", title_justify="left")
    for first, *others in alike(refusals):
        times = str(1 + len(others))
        table.add_row(first.member, unmarked(first.reason), str(first.round or "-"), times, unmarked(first.message))
    console.print(table)


def _show_log(log: LogJson) -> None:
    if log.hidden:
        click.echo(f"The log of {log.member}: {log.entries} entries are shown, and of {log.hidden} only a hash.")
    if log.unnoted:
        click.echo(f"The release has no checkpoint of {log.member}'s log: that it is the true one is its own word.")


def _verdict(checked: CrossCheck, logs: Sequence[LogJson]) -> str:
    epochs = checked.audit.epochs
    if not checked.findings:
        sums = sum(record.payload_sha256 is not None for epoch in epochs for record in epoch.rounds)
        return f"Yes: all {sums} sums are what the hospitals' messages add up to{_beside_logs(checked, logs)}."
    unread = " In an epoch, nothing after the first misfit was checked." if any(e.broken_off for e in epochs) else ""
    fits = "the transcript does not fit together;" if checked.audit.findings else "the transcript fits together, but"
    told = "; ".join(_misfits(checked))
    return f"No: {fits} {told}.{unread}" if told else f"No: {fits.rstrip(';')}.{unread}"


def _misfits(checked: CrossCheck) -> Iterator[str]:
    """What does not fit beside the transcript itself."""
    logs = {finding.reason for finding in checked.rewritten}
    old, added = logs & {OLD_EXPORT, OLD_COPY}, logs & {TAKEN_LATER}
    told = {
        "the release does not vouch for it": checked.unvouched,
        "the release is not what was signed": checked.not_as_signed,
        "the release says otherwise": checked.beside_release,
        "a log that was given ends before what its hospital signed for": old,
        "a sum was added to a log that was given after its hospital had signed for it": added,
        "a log that was given does not go on from what its hospital signed for": logs - old - added,
        "a log that was given ends before the transcript does": checked.older,
        "a hospital has signed that it was given a forged sum": checked.forged,
        "a hospital has signed that its own records are not whole": checked.own_problems,
        "the logs say otherwise: the transcript or a log is not true": checked.beside_logs,
    }
    return (what for what, found in told.items() if found)


def _beside_logs(checked: CrossCheck, logs: Sequence[LogJson]) -> str:
    """How many of the sums logs confirm, where any were given."""
    if not logs:
        return ""
    compared = len(frozenset[int]().union(*checked.compared.values()))
    if not compared:
        return "; no log that was given shows one of them"
    names = list(checked.compared)
    says = f"the log of {names[0]} says" if len(names) == 1 else f"one or more of {len(names)} logs say"
    return f"; of {compared} of them {says} the same"
