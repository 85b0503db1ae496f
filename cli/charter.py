"""`secagg charter`: draft, read, sign and verify what the consortium agrees on."""

from __future__ import annotations

import base64
import binascii
from pathlib import Path
from typing import Any

import click
from rich.markup import escape
from rich.table import Table

from cli.identity import passphrase_option, read_passphrase
from cli.options import charter_options, choices_from
from cli.output import console, json_option, print_json
from secagg.charter import Charter, CharterSignature, Member, sign_charter, verify_charter
from secagg.charter.folder import (
    CHARTER_FILE,
    read_charter,
    read_signatures,
    read_verified,
    write_charter,
    write_signatures,
)
from secagg.errors import InputError
from secagg.identity import PUBLIC_KEY_SIZE, Identity, fingerprint
from secagg.policy import check_charter, load_policy
from training.draft import draft_charter
from training.task import bind_to_file, load_task_file

_FOLDER = click.argument("folder", type=click.Path(path_type=Path, file_okay=False), default="charter")


@click.group()
def charter() -> None:
    """What the consortium agrees on, signed by every member.

    \b
    Example:
      secagg charter verify charter
    """


@charter.command()
@_FOLDER
@click.option("--name", default="consortium", show_default=True, help="What the consortium calls itself.")
@click.option(
    "--task",
    "task_file",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="TOML; see docs/tasks.md.",
)
@click.option("--columns-from", type=click.Path(path_type=Path), help="A file whose columns the task learns from.")
@click.option("--member", "members", multiple=True, required=True, help="NAME=PUBLIC-KEY, for each hospital.")
@charter_options
@json_option
def new(
    folder: Path,
    name: str,
    task_file: Path,
    columns_from: Path | None,
    members: tuple[str, ...],
    as_json: bool,
    **options: Any,
) -> None:
    """Write an unsigned charter into FOLDER.

    \b
    Example:
      secagg charter new charter --task heart.toml --dp local --epsilon 8 \\
          --member cleveland=uVe… --member hungarian=9Kx… --member va=x3B…
    """
    if (folder / CHARTER_FILE).exists():
        raise InputError(
            "charter-exists",
            f"{folder / CHARTER_FILE} exists already and is left as it is.",
            culprit=str(folder),
            remedy="Choose another folder: a charter that others may have signed is not overwritten.",
        )
    spec = load_task_file(task_file)
    if columns_from:
        spec = bind_to_file(spec, columns_from)
    if not spec.is_bound:
        raise InputError(
            "columns-unknown",
            f"{task_file} does not list its features, so that the model's size is unknown.",
            culprit=str(task_file),
            remedy="List data.features in the task, or give a file with --columns-from.",
        )
    drafted = draft_charter(choices_from(name, options), [_member(text) for text in members], spec)
    write_charter(folder, drafted)
    _show(folder, drafted, (), as_json)


@charter.command()
@_FOLDER
@json_option
def show(folder: Path, as_json: bool) -> None:
    """Show the charter in FOLDER, and who has signed it. It is not verified; see `verify`.

    \b
    Example:
      secagg charter show charter
    """
    content = read_charter(folder)
    _show(folder, content, tuple(signature.member for signature in read_signatures(folder)), as_json)


@charter.command()
@_FOLDER
@click.option(
    "--identity",
    "identity_file",
    type=click.Path(path_type=Path, dir_okay=False),
    default="identity.pem",
    show_default=True,
    help="This hospital's key.",
)
@passphrase_option
@click.option(
    "--policy",
    type=click.Path(path_type=Path, dir_okay=False),
    default="policy.toml",
    show_default=True,
    help="What this site accepts; without a file, the strictest.",
)
@json_option
def sign(folder: Path, identity_file: Path, passphrase_file: Path | None, policy: Path, as_json: bool) -> None:
    """Sign the charter in FOLDER, if this site's policy allows what it says, and nobody has signed another.

    \b
    Example:
      secagg charter sign charter --identity identity.pem --policy policy.toml
    """
    content = read_charter(folder)
    identity = Identity.load(identity_file, read_passphrase(passphrase_file))
    signature = sign_charter(content, identity)
    check_charter(content, load_policy(policy))
    others = tuple(entry for entry in read_signatures(folder) if entry.member != signature.member)
    missing = _missing(content, (*others, signature))
    write_signatures(folder, (*others, signature))
    if as_json:
        print_json({"charter": content.digest().hex(), "signed_as": signature.member, "missing": missing})
        return
    click.echo(f"Signed as {signature.member}: charter {content.digest().hex()}.")
    click.echo(f"Still to sign: {', '.join(missing)}." if missing else "All members have signed.")


@charter.command()
@_FOLDER
@json_option
def verify(folder: Path, as_json: bool) -> None:
    """Check that every member has signed exactly the charter in FOLDER.

    \b
    Example:
      secagg charter verify charter
    """
    verified = read_verified(folder)
    members = [member.name for member in verified.charter.members]
    if as_json:
        print_json({"charter": verified.digest.hex(), "signed_by": members})
        return
    click.echo(f"Yes: all {len(members)} members have signed the charter {verified.digest.hex()}.")


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


def _member(text: str) -> Member:
    name, _, key = text.partition("=")
    try:
        public_key = base64.b64decode(key, validate=True)
    except (binascii.Error, ValueError):
        public_key = b""
    if len(public_key) != PUBLIC_KEY_SIZE:
        raise InputError(
            "bad-public-key",
            f"The member {name!r} is given without a public key of 32 bytes in base64.",
            culprit=name,
            remedy="Copy it from the output of `secagg identity show`, as --member NAME=KEY.",
        )
    return Member(name=name, public_key=public_key)


def _show(folder: Path, content: Charter, signed: tuple[str, ...], as_json: bool) -> None:
    if as_json:
        print_json({"charter": content.digest().hex(), "content": content, "signed_by": signed})
        return
    place = escape(str(folder / CHARTER_FILE))
    console.print(f"{place}: charter [bold]{content.digest().hex()}[/bold]", soft_wrap=True)
    console.print(_terms(content))
    table = Table("member", "fingerprint", "signed", title="Members", title_justify="left")
    for member in content.members:
        table.add_row(member.name, fingerprint(member.public_key), "yes" if member.name in signed else "no")
    console.print(table)


def _terms(content: Charter) -> Table:
    privacy, training = content.privacy, content.training
    guarantee = "none: the model may reveal individual patients"
    if privacy.mode != "none":
        guarantee = (
            f"{privacy.mode}: epsilon {privacy.budget:g} at delta {privacy.delta:g}, "
            f"noise {privacy.noise_multiplier:g}, clip {privacy.clip_norm:g}, sampling {privacy.sampling_rate:g}"
        )
    table = Table(title=content.name, title_justify="left", show_header=False)
    for term, value in (
        ("task", f"{content.task.kind}, {content.model.parameters} parameters"),
        ("training", f"{training.rounds} sums, {training.local_steps} local steps each"),
        ("differential privacy", guarantee),
        ("a sum is taken over", f"at least {content.threshold} of {len(content.members)} hospitals"),
        ("may collude", f"{content.max_colluding} hospitals with the coordinator"),
        ("validation counts", content.metrics.release),
        ("model at the start", content.model.digest.hex()[:16]),
    ):
        table.add_row(term, value)
    return table
