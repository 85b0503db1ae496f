"""`secagg policy`: what this site accepts, edited by hand, checked before it counts, loosened by two."""

from __future__ import annotations

import sys
from pathlib import Path

import click
import msgspec

from cli.effect import is_given
from cli.identity import load_identity, passphrase_option, public_key_of, public_key_option, site_key
from cli.output import json_option, print_json, warn
from cli.paths import EXISTING_FOLDER, FILE, PLACE, quoted
from cli.policy_view import NOT_YET, show_change, show_check, show_lines
from cli.sizing import POSITIVE
from secagg.charter import Charter
from secagg.charter.cautions import Caution, cautions
from secagg.charter.folder import read_charter
from secagg.errors import InputError, RefusedError
from secagg.files import PRIVATE, create_atomically
from secagg.policy import Policy, put_in_force, render_policy
from secagg.policy.acceptance import add_signature, read_change, sign_change
from secagg.policy.needs import draft_policy
from secagg.policy.toml import POLICY_FILE, read_policy
from training.hospital_folder import HospitalFolder
from training.policy_check import check_policy, policy_file, uses_of

_PLACE = click.argument("place", type=PLACE, default=".")


@click.group()
def policy() -> None:
    """Write, check and sign this site's policy.toml: what it accepts. It is never sent to anybody.

    \b
    Examples:
      secagg policy new policy.toml --charter charter
      secagg policy check /var/lib/secagg --charter charter
    """


@policy.command(short_help="Write a policy, to be read and edited.")
@click.argument("path", type=FILE, default=POLICY_FILE)
@click.option("--charter", type=EXISTING_FOLDER, help="Allow what this charter asks for, and nothing beyond it.")
@click.option("--epsilon", type=POSITIVE, help="Privacy budget of each data set, over all charters.")
@click.option("--officer", "officers", multiple=True, metavar="KEY", help="Public key of an officer; can be repeated.")
@click.option("--signatures", type=click.IntRange(2), default=2, show_default=True, help="How many officers must sign.")
@json_option
@click.pass_context
def new(
    context: click.Context,
    path: Path,
    charter: Path | None,
    epsilon: float | None,
    officers: tuple[str, ...],
    signatures: int,
    as_json: bool,
) -> None:
    """Write a policy to PATH, to be read and edited: the strict defaults, or what one charter needs.

    The members of --charter are written down as known: compare their fingerprints first (`secagg charter show`). A
    scheme under which all hospitals have one key (bfv, ckks) is left out: write its name into the file yourself.

    If officers are named, a policy that allows more than the one in force needs the signatures of two of them, or of as
    many as --signatures says. Each officer makes a key of their own with `secagg identity new`, and keeps it.

    \b
    Examples:
      secagg policy new policy.toml --charter charter --epsilon 8
      secagg policy new policy.toml --officer 11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo= \\
          --officer PUAXw+hDiVqStwqnTRt+vJyYLM8uxJaMwM1V8Sr0Zgw=
    """
    if is_given(context, "signatures") and not officers:
        raise click.UsageError("--signatures has no effect without --officer: add it, or leave --signatures out.")
    content = read_charter(charter) if charter else None
    agreed = draft_policy(content, epsilon, map(_officer, officers), signatures)
    create_atomically(path, render_policy(agreed), PRIVATE)
    told = (*cautions(content), *_left_out(content, agreed, path)) if content else ()
    if as_json:
        print_json({"path": str(path), "policy": agreed, "warnings": told})
        return
    warn(told)
    click.echo(f"Written to {path}. Read it, then: secagg policy check {quoted(path)}")


@policy.command(short_help="Show every key of a policy, also defaults.")
@_PLACE
@json_option
def show(place: Path, as_json: bool) -> None:
    """Show the policy in PLACE, a site's folder or a file: every key, also those left at their default.

    \b
    Example:
      secagg policy show run/hospitals/aachen
    """
    found = check_policy(policy_file(place))
    if as_json:
        print_json(found)
    else:
        show_lines(found)


@policy.command(short_help="Check a policy after it was edited.")
@_PLACE
@click.option(
    "--charter", type=EXISTING_FOLDER, help="Folder of a charter: show what it needs, and which line refuses it."
)
@click.option("--noted", metavar="HEAD", help="A head that you noted earlier: no change may have been agreed to since.")
@public_key_option
@passphrase_option
@json_option
@click.pass_context
def check(
    context: click.Context,
    place: Path,
    charter: Path | None,
    noted: str | None,
    public_key: str | None,
    passphrase_file: Path | None,
    as_json: bool,
) -> None:
    """Check the policy in PLACE, a site's folder or a file, after it was edited and before anything is started.

    Says whether it can be read, whether it is in force, what a charter would need, and in a site's folder what its
    ledger has spent of the epsilon that it allows.

    Exit code 3 if it is not in force, or refuses the charter.

    \b
    Examples:
      secagg policy check policy.toml --charter charter
      secagg policy check /var/lib/secagg
    """
    path = policy_file(place)
    found = check_policy(path, read_charter(charter) if charter else None, noted)
    folder = HospitalFolder(path.parent)
    if folder.ledger.exists():
        key = site_key(folder.identity, public_key, passphrase_file)
        found = msgspec.structs.replace(found, data_sets=uses_of(folder, key))
    if as_json:
        print_json(found)
    else:
        show_check(found, charter)
        warn(found.warnings)
    context.exit(RefusedError.exit_code if found.missing or found.refusing else 0)


@policy.command(short_help="Sign, as an officer, what a policy newly allows.")
@_PLACE
@click.option("--identity", type=FILE, required=True, help="The officer's own key, not the hospital's.")
@passphrase_option
@json_option
def sign(place: Path, identity: Path, passphrase_file: Path | None, as_json: bool) -> None:
    """As an officer, sign what the policy in PLACE, a site's folder, allows beyond the one in force.

    This is shown first, with the fingerprints of new officers, and on a terminal you are asked whether to sign. The
    signature is kept beside the policy. It is valid for this site and this policy, and only once. With the last missing
    signature the policy comes into force; if the site is running, at its next start. Only officers of the policy in
    force can sign, even if the new one names others.

    \b
    Example:
      secagg policy sign /var/lib/secagg --identity officer.pem
    """
    path = policy_file(place)
    change = read_change(path, read_policy(path))
    if not as_json:
        show_change(change)
        _confirm()
    add_signature(path, sign_change(change, load_identity(identity, passphrase_file)))
    if not check_policy(path).missing:
        _put_in_force(path)
    found = check_policy(path)
    if as_json:
        print_json(found)
        return
    click.echo("Signed.")
    if found.missing:
        click.echo(f"Signatures still missing: {found.missing}.")
    else:
        click.echo(NOT_YET if found.awaits_start else "It is in force.")


def _left_out(content: Charter, agreed: Policy, path: Path) -> tuple[Caution, ...]:
    """What a charter asks for and a drafted policy does not allow."""
    if content.scheme in agreed.allowed_schemes:
        return ()
    remedy = f'If this site agrees to it all the same, add "{content.scheme}" to allowed_schemes in {path}.'
    return (Caution("scheme-left-out", f"{path} does not allow the scheme {content.scheme}.", remedy),)


def _confirm() -> None:
    """Ask whoever can answer, before the key is read: nothing but what was shown is signed."""
    if sys.stdin and sys.stdin.isatty() and not click.confirm("Sign this?"):
        raise KeyboardInterrupt("Nothing was signed.")


def _put_in_force(path: Path) -> None:
    """Unless the site runs: it does so itself when it starts."""
    try:
        put_in_force(path)
    except InputError as error:
        if error.reason != "state-in-use":
            raise


def _officer(text: str) -> bytes:
    return public_key_of(text, f"The officer's key {text!r} is not 32 bytes in base64.", "--officer")
