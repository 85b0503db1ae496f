"""A charter as files: the TOML that people read, and beside it the signatures.

Knows two file names and how they belong together.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from secagg.charter.model import Charter
from secagg.charter.signing import (
    LARGEST_SIGNATURES,
    CharterSignature,
    VerifiedCharter,
    parse_signatures,
    render_signatures,
    verify_charter,
)
from secagg.charter.toml import LARGEST_CHARTER, parse_charter, render_charter
from secagg.errors import InputError, TamperingError
from secagg.files import read_bounded, write_atomically

CHARTER_FILE: Final = "charter.toml"
SIGNATURES_FILE: Final = "charter.signatures.json"


def read_charter(folder: Path) -> Charter:
    """The charter in ``folder``, whoever has signed it.

    Raises:
        InputError: ``unreadable``; ``malformed-charter``, ``false-fingerprint`` or what it contradicts itself in, if
            nobody has signed it.
        TamperingError: ``charter-altered``, if somebody has: nobody can sign what is no charter.
    """
    path = folder / CHARTER_FILE
    text = read_bounded(path, LARGEST_CHARTER)
    try:
        return parse_charter(text)
    except InputError as error:
        signed = [signature.member for signature in read_signatures(folder)]
        if not signed:
            raise
        raise TamperingError(
            "charter-altered",
            f"{path} was changed after {', '.join(signed)} signed it: {error.message}",
            culprit=str(path),
            remedy="Take the charter from another member again. If all have the same, it needs another version of "
            "secagg than this.",
        ) from error


def read_signatures(folder: Path) -> tuple[CharterSignature, ...]:
    """The signatures in ``folder``; none if there is no file yet.

    Raises:
        TamperingError: ``malformed-signatures``.
    """
    path = folder / SIGNATURES_FILE
    return parse_signatures(read_bounded(path, LARGEST_SIGNATURES), str(path)) if path.exists() else ()


def read_verified(folder: Path) -> VerifiedCharter:
    """The charter in ``folder``, if every member has signed it.

    Raises:
        InputError: ``unreadable``, ``charter-unsigned``, and what is wrong with a charter that nobody has signed.
        TamperingError: ``charter-altered``, ``malformed-signatures``.
    """
    return verify_charter(read_charter(folder), read_signatures(folder))


def write_charter(folder: Path, charter: Charter) -> None:
    """Write the charter, unsigned.

    Raises:
        InputError: ``unwritable``.
    """
    write_atomically(folder / CHARTER_FILE, render_charter(charter))


def write_signatures(folder: Path, signatures: tuple[CharterSignature, ...]) -> None:
    """Write the signatures.

    Raises:
        InputError: ``unwritable``.
    """
    write_atomically(folder / SIGNATURES_FILE, render_signatures(signatures))
