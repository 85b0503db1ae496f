"""`secagg budget`: what a site's patients have spent, whether its ledger is whole, and what an officer may change."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from pathlib import Path

import click

from cli.budget_plan import plan
from cli.budget_view import alert_line, describe, shared_lines, table_of
from cli.identity import load_identity, passphrase_option, public_key_option, site_key
from cli.output import NO_HEAD, console, counted, json_option, print_json, say_part, say_whole, warn_of_no_latch
from cli.paths import FILE, FOLDER, PLACE, quoted
from dp.ledger import Account, Entry
from dp.ledger.entries import LEDGER
from dp.ledger.export import LedgerExport, export_ledger, read_export
from secagg.errors import InputError
from secagg.files import PRIVATE, create_atomically
from secagg.identity import Identity
from secagg.policy import load_policy
from secagg.signed_log import FIRST_PREVIOUS, noted_head
from training.clock import write_time
from training.hospital_folder import HospitalFolder
from training.hospital_logs import (
    latch_knows,
    open_site_ledger,
    open_site_ledger_to_import,
    read_site_ledger,
    require_hospital,
    require_noted,
)

_WITHOUT_LATCH = "Give a head that you noted, --noted HEAD, or make a report with --release: secagg audit report."
_FOLDER = click.argument("folder", type=FOLDER, default=".")


@click.group()
def budget() -> None:
    """Show, verify, plan and export this site's privacy budget.

    \b
    Examples:
      secagg budget show run/hospitals/aachen
      secagg budget plan --charter charter
    """


budget.add_command(plan)


@budget.command(short_help="Show what is spent and what is left.")
@_FOLDER
@public_key_option
@passphrase_option
@json_option
def show(folder: Path, public_key: str | None, passphrase_file: Path | None, as_json: bool) -> None:
    """Show what the patients of the hospital in FOLDER have spent, and what its policy leaves them.

    Alerts when 50, 80 or 100 per cent of a data set's budget is spent or reserved.

    \b
    Example:
      secagg budget show run/hospitals/aachen
    """
    place = HospitalFolder(folder)
    require_hospital(place, place.ledger, LEDGER)
    _, account = read_site_ledger(place, site_key(place.identity, public_key, passphrase_file))
    limit = load_policy(place.policy).maximum_epsilon
    data_sets = [describe(name, account, limit) for name in account.data_sets]
    if as_json:
        print_json(data_sets)
    elif not data_sets:
        click.echo("Nothing has been spent.")
    for data_set in [] if as_json else data_sets:
        console.print(table_of(data_set))
        alert = alert_line(data_set)
        if alert:
            console.print(alert, style="yellow", soft_wrap=True)
        for line in shared_lines(data_set):
            click.echo(line)


@budget.command(short_help="Check that a ledger was not altered.")
@click.argument("place", type=PLACE, default=".")
@public_key_option
@passphrase_option
@click.option("--noted", metavar="HEAD", help="A head that you noted earlier: the ledger must continue from there.")
@json_option
def verify(place: Path, public_key: str | None, passphrase_file: Path | None, noted: str | None, as_json: bool) -> None:
    """Check that no entry of a ledger was changed, removed or moved. PLACE is a hospital's folder or an exported file.

    In a folder, the ledger must also continue from the last entry that the hospital's latch has seen; a warning says
    where there is no latch. Whoever restores the whole folder restores the latch too: give a head that you noted
    elsewhere. If a file holds one charter's entries only, the head must be the hash of one of them.

    \b
    Examples:
      secagg budget verify run/hospitals/aachen
      secagg budget verify aachen-ledger.json --public-key 11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=
    """
    if place.is_file():
        export = _read_export(place, public_key)
        entries, length, head = [item.entry for item in export.entries], export.length, export.head
        charter, latched = export.charter, None
    else:
        folder = HospitalFolder(place)
        require_hospital(folder, folder.ledger, LEDGER)
        found, _ = read_site_ledger(folder, site_key(folder.identity, public_key, passphrase_file))
        entries, length, head = list(found), len(found), LEDGER.head(found)
        charter, latched = None, latch_knows(folder, LEDGER)
    if noted is not None:
        hash_noted = _noted_hash(noted)
        _require_in_part(hash_noted, entries, length, place)
        require_noted(hash_noted, entries, place)
    head = head if length else NO_HEAD
    if as_json:
        facts = {"verified": True, "entries": len(entries), "length": length, "charter": charter, "head": head}
        print_json({**facts, "latch_checked": latched})
        return
    if latched is False and noted is None:
        warn_of_no_latch(LEDGER.name, _WITHOUT_LATCH)
    if charter is not None:
        say_part(LEDGER.name, charter, len(entries), length)
        click.echo(f"head {head}")
    else:
        say_whole(length, head)


@budget.command(short_help="Write the ledger as a signed file.")
@_FOLDER
@click.option("--out", type=FILE, required=True, help="The file to write.")
@click.option("--charter", metavar="HASH", help="Write only the entries of this charter.")
@passphrase_option
@json_option
def export(folder: Path, out: Path, charter: str | None, passphrase_file: Path | None, as_json: bool) -> None:
    """Write the ledger in FOLDER as one signed file, which anybody with this site's public key can verify.

    It names data sets by hashes, and holds nothing by which a patient could be recognised.

    \b
    Example:
      secagg budget export run/hospitals/aachen --out aachen-ledger.json
    """
    place = HospitalFolder(folder)
    identity = _identity(place, passphrase_file)
    _, account = read_site_ledger(place, identity.public_key)
    create_atomically(out, export_ledger(place.ledger, identity, charter and _charter(charter, account)), PRIVATE)
    written = read_export(out, identity.public_key)
    count, length, head = len(written.entries), written.length, written.head
    if as_json:
        print_json({"path": str(out), "entries": count, "length": length, "charter": written.charter, "head": head})
        return
    part = f", {count} of {length} entries" if written.is_part else ""
    command = f"secagg budget verify {quoted(out)} --public-key {_base64(identity)}"
    click.echo(f"Written to {out}{part}. To verify it: {command}")
    click.echo(f"head {head}")


@budget.command(name="import", short_help="Add what another ledger of this site has recorded.")
@click.argument("folder", type=FOLDER)
@click.argument("file", type=FILE)
@public_key_option
@click.option("--data-set", metavar="HASH", help="The data set of this ledger that all imported entries belong to.")
@passphrase_option
@json_option
def import_(
    folder: Path,
    file: Path,
    public_key: str | None,
    data_set: str | None,
    passphrase_file: Path | None,
    as_json: bool,
) -> None:
    """Add to the ledger in FOLDER what another ledger of this site has recorded, in a FILE of `secagg budget export`.

    A data set that is not known here counts towards every data set here, unless --data-set says which one it is.
    Nothing is ever lowered, and nothing is counted twice. A ledger that was restored from an old copy is repaired by a
    later export of itself. For a new site, import before its first run what an earlier one has spent.

    \b
    Example:
      secagg budget import run/hospitals/aachen old.json --public-key 11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=
    """
    if data_set is not None and public_key is None:
        raise click.UsageError(
            "--data-set is for an export under another key: under this site's own, a data set has the same name here."
        )
    place = HospitalFolder(folder)
    identity = load_identity(place.identity, passphrase_file)
    exported = read_export(file, identity.public_key if public_key is None else site_key(file, public_key, None))
    with open_site_ledger_to_import(place, identity, exported) as ledger:
        known = None if data_set is None else _one_of(ledger.account.data_sets, data_set, "data set")
        added = ledger.take_over(exported, known)
        still_open = sorted({run.run for run in ledger.open_in(exported)})
    left_out = exported.length - len(exported.entries)
    if as_json:
        print_json({"added": added, "left_out": left_out, "open_in_both": still_open})
        return
    click.echo(f"{added} entries were added." if added else "Nothing was added: all of it is known here.")
    if left_out:
        click.echo(
            f"The file holds one charter's entries only, and leaves out {left_out} of that ledger's {exported.length}. "
            "What was spent under other charters does not count here: import an export of the whole ledger."
        )
    for run in still_open:
        click.echo(
            f"The run of charter {run[:16]} is open in both ledgers. If the other copy may still go on with it, do not "
            "release it here."
        )


@budget.command(short_help="Free what a run that never ended has reserved.")
@_FOLDER
@click.option(
    "--charter", metavar="HASH", required=True, help="Charter of the run to give up, as `secagg budget show` prints it."
)
@passphrase_option
@json_option
def release(folder: Path, charter: str, passphrase_file: Path | None, as_json: bool) -> None:
    """Free what a run that never ended has reserved and not used. Its charged rounds stay spent.

    The hospital must not be running, and no copy of its folder may go on with the run: what a copy charges is not known
    here until it is imported. If the run is started again, it must reserve again. What another ledger had reserved when
    it was imported is not freed: what was charged there since is not known here.

    \b
    Example:
      secagg budget release run/hospitals/aachen --charter 4f1c09d2a7b3e865
    """
    place = HospitalFolder(folder)
    identity = _identity(place, passphrase_file)
    with open_site_ledger(place, identity) as ledger:
        account = ledger.account
        run = _charter(charter, account)
        names = [name for name in account.data_sets if _is_open(account, name, run)]
        elsewhere = [name for name in account.data_sets if _is_held_elsewhere(account, name, run)]
        for name in names:
            ledger.release_run(name, run, write_time())
    if as_json:
        print_json({"charter": run, "released": names, "held_elsewhere": elsewhere})
        return
    if names:
        click.echo(
            f"Released on {_data_sets(names)}. If a copy of this folder may still go on with the run, import what it "
            "has recorded: secagg budget import."
        )
    if elsewhere:
        click.echo(
            f"On {_data_sets(elsewhere)} this run still holds what another ledger had reserved for it when that was "
            "exported. It goes on counting: what was charged there since is not known here."
        )
    if not names and not elsewhere:
        click.echo("This run has nothing reserved.")


def _noted_hash(noted: str) -> str:
    """The hash that somebody noted.

    Raises:
        InputError: ``bad-head``.
    """
    if noted.strip().lower() == NO_HEAD:
        return FIRST_PREVIOUS
    return noted_head(noted, "a ledger", f"Give all 64 characters that `secagg budget verify` printed, or {NO_HEAD}.")


def _require_in_part(noted: str, entries: Sequence[Entry], length: int, path: Path) -> None:
    """Of a part, that a head is the signed one says nothing: the site may have signed any."""
    if len(entries) < length and noted not in {LEDGER.chain_hash(entry.body()) for entry in entries}:
        raise InputError(
            "part-of-a-ledger",
            f"{path} holds {len(entries)} of {length} entries, and the noted head is that of none of them.",
            culprit=str(path),
            remedy="Export the whole ledger: leave out --charter.",
        )


def _identity(place: HospitalFolder, passphrase_file: Path | None) -> Identity:
    """The hospital's key, for its ledger."""
    require_hospital(place, place.ledger, LEDGER)
    return load_identity(place.identity, passphrase_file)


def _read_export(path: Path, public_key: str | None) -> LedgerExport:
    if public_key is None:
        raise InputError(
            "no-public-key",
            f"It is not known whose ledger {path} should be.",
            culprit="--public-key",
            remedy="Give the site's key with --public-key, from a source other than this file.",
        )
    return read_export(path, site_key(path, public_key, None))


def _data_sets(names: Sequence[str]) -> str:
    return counted(len(names), "data set")


def _base64(identity: Identity) -> str:
    return base64.b64encode(identity.public_key).decode()


def _charter(start: str, account: Account) -> str:
    runs = (run.run for name in account.data_sets for run in account.spending(name).runs)
    return _one_of(runs, start, "charter")


def _one_of(names: Iterable[str], start: str, what: str) -> str:
    """The one name that begins so: hashes are shown by their first characters."""
    found = sorted({name for name in names if start and name.startswith(start.lower())})
    if len(found) != 1:
        raise InputError(
            "no-such-run" if what == "charter" else "no-such-data-set",
            f"{len(found) or 'No'} {what}s in this ledger begin with {start!r}.",
            culprit=start,
            remedy="`secagg budget show` lists them.",
        )
    return found[0]


def _is_open(account: Account, data_set: str, run: str) -> bool:
    return any(found.run == run and not (found.closed or found.imported) for found in account.spending(data_set).runs)


def _is_held_elsewhere(account: Account, data_set: str, run: str) -> bool:
    return any(found.run == run and found.imported and found.holds for found in account.spending(data_set).runs)
