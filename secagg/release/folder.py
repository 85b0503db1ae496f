"""A release as files, and the check that an outsider repeats: model, statement, charter and signatures fit together.

Knows file names. `verify_release` needs nothing but the folder; what it trusts is the charter's members' keys.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from secagg.charter import VerifiedCharter
from secagg.charter.folder import read_verified
from secagg.errors import InputError, TamperingError
from secagg.files import read_bounded
from secagg.release.dsse import LARGEST_STATEMENT, SignedStatement, read_signed, verify_signatures
from secagg.release.statement import MODEL_FILE, Statement, read_statement

STATEMENT_FILE: Final = "statement.dsse.json"


@dataclass(frozen=True)
class VerifiedRelease:
    """A release that fits its charter and carries every contributor's signature. Made by `verify_release`."""

    charter: VerifiedCharter
    statement: Statement
    signed: SignedStatement


def read_release(folder: Path) -> tuple[SignedStatement, Statement]:
    """The statement in ``folder``, unverified: for showing.

    Raises:
        InputError: ``unreadable``.
        TamperingError: ``malformed-statement``.
    """
    signed = read_signed(read_bounded(folder / STATEMENT_FILE, 2 * LARGEST_STATEMENT))
    return signed, read_statement(signed.payload)


def verify_release(folder: Path) -> VerifiedRelease:
    """Check a release folder: charter signed by all; statement about this charter; signed by every contributor; about
    exactly this model file.

    Raises:
        InputError: ``unreadable``, ``charter-unsigned``, ``malformed-charter``.
        TamperingError: naming what does not fit.
    """
    charter = read_verified(folder)
    signed, statement = read_release(folder)
    release = statement.predicate
    if release.charter != charter.digest.hex():
        raise TamperingError(
            "other-charter",
            f"The statement is about the charter {release.charter[:16]}, but the folder holds "
            f"{charter.digest.hex()[:16]}.",
        )
    if release.initial_model_digest != charter.charter.model.digest.hex():
        raise TamperingError("other-model", "The statement starts from another model than the charter.")
    if not release.contributors:
        raise TamperingError("no-contributors", "The statement names no contributing hospital.")
    verify_signatures(signed, charter.charter, [contributor.name for contributor in release.contributors])
    found = _sha256_of(folder / MODEL_FILE)
    if found != statement.model_sha256:
        raise TamperingError(
            "model-altered",
            f"{MODEL_FILE} is not the model that was signed: its SHA-256 is {found[:16]}…, "
            f"the hospitals signed {statement.model_sha256[:16]}….",
            culprit=MODEL_FILE,
            remedy="Do not use it; get the release again from a hospital.",
        )
    return VerifiedRelease(charter, statement, signed)


def _sha256_of(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError("unreadable", f"{path} cannot be read: {error.strerror}.", culprit=str(path)) from error
