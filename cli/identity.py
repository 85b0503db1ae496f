"""`secagg identity`: make and show a hospital's signing key."""

from __future__ import annotations

import base64
import binascii
from pathlib import Path
from typing import Final

import click

from cli.output import json_option, print_json
from cli.paths import EXISTING_FILE, FILE
from secagg.errors import InputError
from secagg.identity import PUBLIC_KEY_SIZE, Identity
from secagg.passphrase import read_passphrase

_COPY: Final = "Copy it from the output of `secagg identity show`."


@click.group()
def identity() -> None:
    """Make and show this hospital's signing key.

    \b
    Example:
      secagg identity new identity.pem
    """


passphrase_option = click.option(
    "--passphrase-file",
    type=EXISTING_FILE,
    help="File whose first line is the passphrase of the key. Without one, only file permissions protect the key.",
)

public_key_option = click.option(
    "--public-key", help="The site's public key in base64; if not given, that of the key file in its folder."
)


@identity.command(short_help="Make a new key.")
@click.argument("path", type=FILE, default="identity.pem")
@passphrase_option
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


@identity.command(short_help="Show a key's public half and fingerprint.")
@click.argument("path", type=FILE, default="identity.pem")
@passphrase_option
@json_option
def show(path: Path, passphrase_file: Path | None, as_json: bool) -> None:
    """Show the public key and fingerprint of the key in PATH.

    \b
    Example:
      secagg identity show identity.pem
    """
    _show(path, load_identity(path, passphrase_file), as_json)


def load_identity(path: Path, passphrase_file: Path | None) -> Identity:
    """The key in ``path``, with the passphrase of `passphrase_option`.

    Raises:
        InputError: why it cannot be loaded, or the passphrase cannot be read.
    """
    return Identity.load(path, read_passphrase(passphrase_file))


def site_key(path: Path, public_key: str | None, passphrase_file: Path | None) -> bytes:
    """A site's public key, 32 bytes: the one that is given in base64, or that of the site's identity at ``path``.

    Raises:
        InputError: ``bad-public-key``, or why the identity cannot be loaded.
    """
    if public_key is None:
        try:
            return load_identity(path, passphrase_file).public_key
        except InputError as error:
            # As in a copy that was made to be read elsewhere, without the key.
            remedy = f"{error.remedy} Or give the site's public key, which is in the charter, with --public-key."
            raise error.with_remedy(remedy) from error
    return public_key_of(public_key, f"The public key {public_key!r} is not 32 bytes in base64.", "--public-key")


def public_key_of(text: str, message: str, culprit: str, remedy: str = _COPY) -> bytes:
    """The 32 bytes of a public key in base64.

    Raises:
        InputError: ``bad-public-key``, with this message, culprit and remedy.
    """
    try:
        key = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != PUBLIC_KEY_SIZE:
        raise InputError("bad-public-key", message, culprit=culprit, remedy=remedy)
    return key


def _show(path: Path, shown: Identity, as_json: bool) -> None:
    public = base64.b64encode(shown.public_key).decode()
    if as_json:
        print_json({"path": str(path), "public_key": public, "fingerprint": shown.fingerprint})
        return
    click.echo(f"public key   {public}")
    click.echo(f"fingerprint  {shown.fingerprint}")
    click.echo("Send the public key to whoever writes the charter; compare the fingerprint over the telephone.")
