"""`secagg audit egress`: what left a hospital, and whether its log of it is whole."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click
import msgspec
from rich.table import Table

from cli.identity import passphrase_option, public_key_option, site_key
from cli.output import NO_HEAD, console, counted, json_option, print_json, say_part, say_whole, size, warn_of_no_latch
from cli.paths import FOLDER, PLACE
from secagg.charter.folder import read_verified
from secagg.egress import EGRESS, Direction, EgressEntry
from secagg.files import require_there
from secagg.log_excerpt import LogExcerpt
from secagg.wire import Stage
from training.hospital_folder import HospitalFolder
from training.hospital_logs import latch_knows, read_egress_log, require_hospital
from training.reporting.egress import egress_of
from training.reporting.evidence import read_evidence
from training.reporting.shown_log import shown_egress

_WITHOUT_LATCH = (
    "Compare the head with one of the folder that you noted, or make a report with --release: secagg audit report."
)


class StageJson(msgspec.Struct, frozen=True):
    """The messages of one stage."""

    stage: str
    messages: int
    bytes: int


class CharterJson(msgspec.Struct, frozen=True):
    """What left under one charter.

    Attributes:
        rounds: masked vectors left in so many.
        sums: of so many rounds a sum was taken.
        snapshots: so many were taken from other hospitals, in place of sums that were missed.
    """

    charter: str
    stages: list[StageJson]
    messages: int
    bytes: int
    rounds: int
    sums: int
    snapshots: int


class EgressJson(msgspec.Struct, frozen=True):
    """The log, as far as it is shown.

    Attributes:
        entries: that are shown, and were verified; ``length``: how many the log has.
        head: None where the log's last entry is not shown.
        latch_checked: whether the hospital's latch knew how far the log had come; None of an exported file.
    """

    verified: bool
    entries: int
    length: int
    head: str | None
    charters: list[CharterJson]
    latch_checked: bool | None


@click.command()
@click.argument("place", type=PLACE, default=".")
@click.option(
    "--charter",
    "charter_folder",
    type=FOLDER,
    help="Folder of the charter, which has the site's key; for an exported file only.",
)
@public_key_option
@passphrase_option
@json_option
@click.pass_context
def egress(
    context: click.Context,
    place: Path,
    charter_folder: Path | None,
    public_key: str | None,
    passphrase_file: Path | None,
    as_json: bool,
) -> None:
    """Show what left a hospital, and check that no entry of its log was changed, removed or moved.

    PLACE is the hospital's folder, or a file that it has exported with `secagg audit export`. Of a file, the entries
    that it shows are checked; that the charter has no others in the log is only the site's word, until `secagg audit
    report` compares them with the transcript and the release. In a folder, the log must also continue from the last
    entry that the hospital's latch has seen; a warning says where there is no latch. Whoever restores the whole folder
    restores the latch too: compare the head with one of the folder that you noted elsewhere, or make a report, which
    knows what hospitals have signed for.

    \b
    Examples:
      secagg audit egress run/hospitals/aachen
      secagg audit egress aachen-export.json --charter run/charter
    """
    require_there(place)
    if place.is_file():
        _require_none(context, "an exported file, whose key is in the charter", "public_key", "passphrase_file")
        exported_of, excerpt = _exported(place, charter_folder)
        entries, length, latched = excerpt.entries, excerpt.checkpoint.entries, None
    else:
        _require_none(context, "a folder, which has the site's key", "charter_folder")
        folder = HospitalFolder(place)
        require_hospital(folder, folder.egress, EGRESS)
        entries = read_egress_log(folder, site_key(folder.identity, public_key, passphrase_file))
        exported_of, length, latched = None, len(entries), latch_knows(folder, EGRESS)
    head = _head(entries, length)
    charters = [_describe(name, entries) for name in dict.fromkeys(entry.charter for entry in entries)]
    if as_json:
        print_json(EgressJson(True, len(entries), length, head, charters, latched))
        return
    if latched is False:
        warn_of_no_latch(EGRESS.name, _WITHOUT_LATCH)
    for charter in charters:
        # A sum of what: a model's update, or statistics of features.
        sent = f"sent a vector to be summed in {counted(charter.rounds, 'round')}"
        click.echo(f"Charter {charter.charter[:16]}: {sent}, took in {_taken(charter)}.")
        console.print(_table(charter))
    if exported_of is None or len(entries) == length:
        say_whole(length, head or NO_HEAD)
        return
    say_part(EGRESS.name, exported_of, len(entries), length)
    click.echo(f"head {head}" if head else "The head is not known: the log's last entry is not shown.")


def _require_none(context: click.Context, what: str, *names: str) -> None:
    """No option that would not be looked at: what is said of the log would seem to rest on it."""
    for parameter in context.command.params:
        if parameter.name in names and context.params[parameter.name] is not None:
            raise click.UsageError(f"PLACE is {what}: leave out {parameter.opts[0]}.")


def _exported(file: Path, charter_folder: Path | None) -> tuple[str, LogExcerpt[EgressEntry]]:
    """The charter that a file is of, and what it shows of the log."""
    if charter_folder is None:
        raise click.UsageError("Give the charter of an exported file with --charter.")
    evidence = read_evidence(file, read_verified(charter_folder)).evidence
    return evidence.charter, shown_egress(evidence)


def _head(entries: Sequence[EgressEntry], length: int) -> str | None:
    """What stands for the whole log: the hash of its last entry, if that is shown."""
    if not length:
        return NO_HEAD
    return EGRESS.head(entries) if entries and entries[-1].sequence == length else None


def _describe(charter: str, entries: Sequence[EgressEntry]) -> CharterJson:
    own = [entry for entry in entries if entry.charter == charter]
    masked = [entry for entry in own if (entry.direction, entry.stage) == (Direction.SENT, Stage.MASKED.name)]
    facts = egress_of(own)
    return CharterJson(
        charter=charter,
        stages=[StageJson(kind.stage, kind.messages, kind.bytes) for kind in facts.stages],
        messages=facts.messages,
        bytes=facts.bytes,
        rounds=len({entry.round for entry in masked}),
        sums=facts.sums,
        snapshots=facts.snapshots,
    )


def _taken(charter: CharterJson) -> str:
    sums = counted(charter.sums, "sum")
    return f"{sums} and {counted(charter.snapshots, 'snapshot')} of other hospitals" if charter.snapshots else sums


def _table(charter: CharterJson) -> Table:
    table = Table("message", "count", "bytes")
    for row in charter.stages:
        table.add_row(row.stage, str(row.messages), size(row.bytes))
    table.add_section()
    table.add_row("total", str(charter.messages), size(charter.bytes))
    return table
