"""`secagg identity`: make and show a hospital's signing key."""

from __future__ import annotations

import base64
from pathlib import Path

import click

from cli.output import json_option, print_json
from secagg.identity import Identity


@click.group()
def identity() -> None:
    """This hospital's signing key."""


_passphrase = click.option(
    "--passphrase-file",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="File whose first line encrypts the key. Without it the key is protected by file permissions alone.",
)


@identity.command()
@click.argument("path", type=click.Path(path_type=Path, dir_okay=False), default="identity.pem")
@_passphrase
@json_option
def new(path: Path, passphrase_file: Path | None, as_json: bool) -> None:
    """Make a new key in PATH (mode 0600), and show what to tell the other hospitals.

    \b
    Example:
      secagg identity new identity.pem
    """
    made = Identity.generate()
    made.save(path, read_passphrase(passphrase_file))
    _show(path, made, as_json)


@identity.command()
@click.argument("path", type=click.Path(path_type=Path, dir_okay=False), default="identity.pem")
@_passphrase
@json_option
def show(path: Path, passphrase_file: Path | None, as_json: bool) -> None:
    """Show the public key and fingerprint of the key in PATH.

    \b
    Example:
      secagg identity show identity.pem
    """
    _show(path, Identity.load(path, read_passphrase(passphrase_file)), as_json)


def read_passphrase(path: Path | None) -> bytes | None:
    """The first line of a passphrase file."""
    return path.read_bytes().split(b"\n")[0].rstrip(b"\r") if path else None


def _show(path: Path, shown: Identity, as_json: bool) -> None:
    public = base64.b64encode(shown.public_key).decode()
    if as_json:
        print_json({"path": str(path), "public_key": public, "fingerprint": shown.fingerprint})
        return
    click.echo(f"public key   {public}")
    click.echo(f"fingerprint  {shown.fingerprint}")
    click.echo("Send the public key to whoever writes the charter; compare the fingerprint over the telephone.")
