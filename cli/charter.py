"""`secagg charter`: read, sign and verify what the consortium agrees on.

Drafting is in `cli.charter_new`, start-up kits are in `cli.provision`, the table of terms in `cli.terms`.
"""

from __future__ import annotations

from pathlib import Path

import click
from rich.markup import escape
from rich.table import Table

from cli.effect import is_given
from cli.identity import load_identity, passphrase_option
from cli.lazy import LazyCommand, LazyGroup
from cli.output import console, json_option, print_json, print_table, warn
from cli.paths import FILE, FOLDER, quoted
from cli.terms import terms_table
from secagg.charter import Charter, CharterSignature, sign_charter, verify_charter
from secagg.charter.cautions import Caution, cautions
from secagg.charter.encryption import encryption_terms
from secagg.charter.folder import (
    CHARTER_FILE,
    read_charter,
    read_signatures,
    read_verified,
    write_signatures,
)
from secagg.errors import InputError, RefusedError
from secagg.files import require_there
from secagg.identity import fingerprint
from secagg.policy import check_charter, load_policy
from training.charter_check import require_room
from training.privacy_plan import require_budget

charter_folder = click.argument("folder", type=FOLDER, default="charter")


@click.group(cls=LazyGroup)
def charter() -> None:
    """Draft, sign and verify the charter: what all hospitals agree on.

    \b
    Example:
      secagg charter verify charter
    """


charter.add_command(
    LazyCommand("new", "cli.charter_new:new", "Draft a charter from a task and a few choices, unsigned.")
)
charter.add_command(
    LazyCommand(
        "provision", "cli.provision:provision_command", "Make start-up kits for all members and the coordinator."
    )
)


@charter.command(short_help="Show a charter, and who has signed it.")
@charter_folder
@json_option
def show(folder: Path, as_json: bool) -> None:
    """Show the charter in FOLDER, and who has signed it. Signatures are not verified: see `secagg charter verify`.

    \b
    Example:
      secagg charter show charter
    """
    content = read_charter(folder)
    show_charter(folder, content, tuple(signature.member for signature in read_signatures(folder)), as_json)


@charter.command(short_help="Sign a charter, if this site's policy allows it.")
@charter_folder
@click.option(
    "--identity",
    "identity_file",
    type=FILE,
    default="identity.pem",
    show_default=True,
    help="File with this hospital's signing key.",
)
@passphrase_option
@click.option(
    "--policy",
    type=FILE,
    default="policy.toml",
    show_default=True,
    help="Policy: what this site accepts. If not given and there is no such file, the strict defaults apply.",
)
@json_option
@click.pass_context
def sign(
    context: click.Context,
    folder: Path,
    identity_file: Path,
    passphrase_file: Path | None,
    policy: Path,
    as_json: bool,
) -> None:
    """Sign the charter in FOLDER, if this site's policy allows it and nobody has signed a different one.

    \b
    Example:
      secagg charter sign charter --identity identity.pem --policy policy.toml
    """
    if is_given(context, "policy"):
        # The strict defaults are not what somebody means who names a file.
        require_there(policy)
    content = read_charter(folder)
    identity = load_identity(identity_file, passphrase_file)
    signature = sign_charter(content, identity)
    _check(content, policy, folder)
    others = tuple(entry for entry in read_signatures(folder) if entry.member != signature.member)
    missing = _missing(content, (*others, signature))
    require_room(content)
    require_budget(content)
    if not as_json:
        # Before the signature is written.
        warn(cautions(content))
    write_signatures(folder, (*others, signature))
    if as_json:
        result = {"charter": content.digest().hex(), "signed_as": signature.member, "missing": missing}
        print_json(result | {"warnings": cautions(content)})
        return
    click.echo(f"Signed as {signature.member}: charter {content.digest().hex()}.")
    click.echo(f"Not signed yet by: {', '.join(missing)}." if missing else "All members have signed.")


@charter.command(short_help="Check that every member has signed a charter.")
@charter_folder
@json_option
def verify(folder: Path, as_json: bool) -> None:
    """Check that every member has signed exactly the charter in FOLDER.

    \b
    Example:
      secagg charter verify charter
    """
    verified = read_verified(folder)
    members, told = [member.name for member in verified.charter.members], cautions(verified.charter)
    if as_json:
        print_json({"charter": verified.digest.hex(), "signed_by": members, "warnings": told})
        return
    warn(told)
    click.echo(f"Yes: all {len(members)} members have signed the charter {verified.digest.hex()}.")


def _check(content: Charter, policy: Path, folder: Path) -> None:
    """As `check_charter`; whoever has no policy yet is told how to have one."""
    try:
        check_charter(content, load_policy(policy))
    except RefusedError as error:
        if policy.exists():
            raise
        new = f"secagg policy new {quoted(policy)} --charter {quoted(folder)}"
        have_one = (
            f"There is no {policy} yet, and without one no member is known: `{new}` writes it. Compare each "
            "fingerprint in it with its owner."
        )
        # A scheme is refused whoever is known, and the policy that is written then does not allow it either.
        remedy = have_one if error.reason == "unknown-member" else f"{error.remedy} {have_one}"
        raise error.with_remedy(remedy) from error


def _missing(content: Charter, signatures: tuple[CharterSignature, ...]) -> list[str]:
    """Who has still to sign.

    Raises:
        TamperingError: ``charter-altered``, if somebody has signed another charter than this.
    """
    try:
        verify_charter(content, signatures)
    except InputError:
        signed = {signature.member for signature in signatures}
        return [member.name for member in content.members if member.name not in signed]
    return []


def show_charter(
    folder: Path, content: Charter, signed: tuple[str, ...], as_json: bool, of_the_task: tuple[Caution, ...] = ()
) -> None:
    """Print a charter and who of its members has signed it; ``of_the_task`` is known where the model was built."""
    told = (*cautions(content), *of_the_task)
    if as_json:
        result = {"charter": content.digest().hex(), "content": content, "signed_by": signed}
        print_json(result | {"encryption": encryption_terms(content), "warnings": told})
        return
    place = escape(str(folder / CHARTER_FILE))
    console.print(f"{place}: charter [bold]{content.digest().hex()}[/bold]", soft_wrap=True)
    console.print(terms_table(content))
    table = Table("member", "fingerprint", "signed", title="Members", title_justify="left")
    for member in content.members:
        table.add_row(member.name, fingerprint(member.public_key), "yes" if member.name in signed else "no")
    print_table(table)
    if signed:
        command = f"secagg charter verify {quoted(folder)}"
        console.print(f"Signatures were not verified here: {command}", markup=False, soft_wrap=True)
    warn(told)
