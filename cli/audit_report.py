"""`secagg audit report`: what a privacy officer is told of a run, as a page to read and as JSON to repeat."""

from __future__ import annotations

from pathlib import Path

import click

from cli.identity import passphrase_option
from cli.output import json_option, print_json, say_found
from cli.paths import FILE, FOLDER, PLACE, charter_option
from cli.report_page import is_page, page_names, render_page, require_page
from secagg.charter.folder import read_verified
from secagg.errors import InputError, TamperingError
from secagg.files import PRIVATE, write_atomically
from secagg.passphrase import read_passphrase
from secagg.printable import printable
from training.reporting.document import ReportDocument, is_document, make_document, verify_document
from training.reporting.records import Sources, gather_records
from training.reporting.report import Report
from training.reporting.sites import read_sites


@click.command()
@click.argument("places", nargs=-1, type=PLACE)
@charter_option
@click.option("--release", type=FOLDER, help="Folder of the release.")
@click.option("--transcript", type=FOLDER, help="Folder of the coordinator's transcript.")
@click.option("--audit", type=FILE, help="File with what `secagg audit privacy --charter --json` printed.")
@click.option(
    "--out",
    type=FILE,
    help="The page to write, FILE.html; FILE.json goes beside it. An earlier report is replaced, and nothing else.  "
    "[default: report.html]",
)
@click.option(
    "--verify", "document", type=FILE, help="Recompute an earlier report from its JSON file, and write nothing."
)
@passphrase_option
@json_option
@click.pass_context
def report(
    context: click.Context,
    places: tuple[Path, ...],
    charter_folder: Path,
    release: Path | None,
    transcript: Path | None,
    audit: Path | None,
    out: Path | None,
    document: Path | None,
    passphrase_file: Path | None,
    as_json: bool,
) -> None:
    """Report on a run: is anything wrong, what is spent, what left, what is promised, who took part.

    PLACES is one hospital's folder, for its own privacy officer; or, for the consortium, files that hospitals have
    exported with `secagg audit export`, or folders, which are then exported first. The page opens offline; the JSON
    beside it holds the records that every figure was computed from, so that --verify can recompute it with nothing but
    the charter, and compare the page beside it. Exit code 4 if something is wrong.

    \b
    Examples:
      secagg audit report run/hospitals/aachen --charter run/charter --release run/release --out aachen.html
      secagg audit report aachen-export.json bergen-export.json --charter run/charter \\
          --transcript run/coordinator/transcript
      secagg audit report --verify report.json --charter run/charter
    """
    if out:
        _require_page_name(out)
    charter = read_verified(charter_folder)
    sources = Sources(release, transcript, audit)
    if document:
        if places or out:
            raise click.UsageError("--verify takes no PLACES and no --out.")
        found = verify_document(document, charter, sources)
        page, _ = page_names(document)
        if page.exists():
            require_page(page, found)
    else:
        if not places:
            raise click.UsageError("Give a hospital's folder, or files that hospitals have exported.")
        page, beside = page_names(out or Path("report.html"))
        _require_replaceable(page, beside)
        sites = read_sites(places, charter, release, read_passphrase(passphrase_file))
        found = make_document(charter, gather_records(charter, sites, sources))
        write_report(found, page, beside)
    if as_json:
        print_json(found)
    else:
        _say(found.report)
        click.echo(
            printable(_repeated(document, page if page.exists() else None, sources))
            if document
            else f"Written to {page}. {beside} holds the records, to recompute it from."
        )
    context.exit(TamperingError.exit_code if found.report.findings else 0)


def write_report(document: ReportDocument, page: Path, beside: Path) -> None:
    """Write the page and the JSON, readable by their owner only.

    Raises:
        InputError: ``unwritable``.
    """
    data = document.to_json()
    # As whoever verifies it reads it, to whom it has to give the same page.
    write_atomically(page, render_page(ReportDocument.from_json(data)).encode(), PRIVATE)
    write_atomically(beside, data, PRIVATE)


def _require_page_name(out: Path) -> None:
    """Refuse a name of another kind of file: the page beside it may be somebody's report, and would be replaced."""
    if not out.name or out.suffix not in ("", ".html"):
        raise click.BadParameter(f"{out} does not end in .html.", param_hint="--out")


def _require_replaceable(page: Path, beside: Path) -> None:
    """Replace an earlier report only: what a hospital has exported, and signed, may lie under either name."""
    for path, is_ours in ((page, is_page), (beside, is_document)):
        if path.exists() and not is_ours(path):
            raise InputError(
                "exists",
                f"{path} exists, is not an earlier report, and is left as it is.",
                culprit=str(path),
                remedy="Choose another name with --out: a page is written, and a .json beside it.",
            )


def _say(found: Report) -> None:
    for finding in found.findings:
        say_found(finding.message, finding.reason)
    if found.findings:
        things = "1 thing is" if len(found.findings) == 1 else f"{len(found.findings)} things are"
        click.echo(f"No: {things} wrong with the records.")
    else:
        whole = sum(check.state == "whole" for check in found.checks)
        click.echo(f"Yes: all {whole} checks that could be made found the records intact.")
    for notice in found.notices:
        say_found(f"Note: {notice.message} {notice.remedy}", notice.code)


def _repeated(document: Path, page: Path | None, sources: Sources) -> str:
    given = {
        "the page": page,
        "the release": sources.release,
        "the transcript": sources.transcript,
        "the audit": sources.audit,
    }
    missing = [name for name, place in given.items() if place is None]
    told = f"Yes: every figure in {document} follows from its records"
    if page:
        told = f"{told}, and {page} says the same"
    return f"{told}. Not checked again: {', '.join(missing)}." if missing else f"{told}."
