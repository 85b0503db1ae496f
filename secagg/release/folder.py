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
from secagg.errors import InputError
from secagg.files import read_bounded, unreadable
from secagg.release.dsse import LARGEST_STATEMENT, SignedStatement, read_envelope, verify_signatures
from secagg.release.statement import MODEL_FILE, Release, Statement, read_statement
from secagg.release.unusable import of_another_charter, unusable

STATEMENT_FILE: Final = "statement.dsse.json"


@dataclass(frozen=True)
class VerifiedRelease:
    """A release that fits its charter and carries every contributor's signature. Made by `verify_release`."""

    charter: VerifiedCharter
    statement: Statement
    signed: SignedStatement


def holds_release(folder: Path) -> bool:
    """Whether a release is in ``folder``; its statement is written last."""
    return (folder / STATEMENT_FILE).exists()


def read_release(folder: Path) -> tuple[SignedStatement, Statement]:
    """The statement in ``folder``, unverified: for showing.

    Raises:
        InputError: ``no-release``, ``unreadable``.
        TamperingError: ``malformed-statement``.
    """
    _require_release(folder)
    path = folder / STATEMENT_FILE
    signed = read_envelope(read_bounded(path, 2 * LARGEST_STATEMENT), str(path))
    return signed, read_statement(signed.payload, str(path))


def verify_release(folder: Path) -> VerifiedRelease:
    """Check a release folder: charter signed by all; statement about this charter; signed by every contributor, who are
    a threshold at least; about exactly this model file.

    Raises:
        InputError: ``no-release``, ``unreadable``, ``charter-unsigned``, ``malformed-charter``.
        TamperingError: naming what does not fit.
    """
    _require_release(folder)
    charter = read_verified(folder)
    signed, _ = read_release(folder)
    return verify_parts(charter, signed, _sha256_of(folder / MODEL_FILE), str(folder / STATEMENT_FILE))


def _require_release(folder: Path) -> None:
    try:
        found = any((folder / name).exists() for name in (STATEMENT_FILE, MODEL_FILE))
    except OSError:
        # Why it cannot be looked into is told by whoever reads it.
        return
    if not found:
        raise InputError(
            "no-release",
            f"There is no release in {folder}.",
            culprit=str(folder),
            remedy="Give the folder of a release: there is one once the training has ended, called release.",
        )


def verify_parts(charter: VerifiedCharter, signed: SignedStatement, model_sha256: str, place: str) -> VerifiedRelease:
    """Check that a statement is about this charter, signed by every contributor, and about exactly this model file.

    Args:
        model_sha256: of the model file, hexadecimal.
        place: of the statement, for the error.

    Raises:
        TamperingError: naming what does not fit.
    """
    statement = read_statement(signed.payload, place)
    verify_statement(charter, signed, statement, place)
    if model_sha256 != statement.model_sha256:
        raise unusable(
            "model-altered",
            f"{MODEL_FILE} is not the model that was signed: its SHA-256 is {model_sha256[:16]}…, "
            f"the hospitals signed {statement.model_sha256[:16]}….",
            MODEL_FILE,
        )
    return VerifiedRelease(charter, statement, signed)


def verify_statement(charter: VerifiedCharter, signed: SignedStatement, statement: Statement, place: str) -> None:
    """Check that a statement is about this charter's run, and signed by every contributor, a threshold at least.

    Args:
        place: where it is, for the error.

    Raises:
        TamperingError: naming what does not fit.
    """
    release = statement.predicate
    if release.charter != charter.digest.hex():
        raise of_another_charter(
            f"{place} is about the charter {release.charter[:16]}, and not about {charter.digest.hex()[:16]}.",
            place,
        )
    if release.initial_model_digest != charter.charter.model.digest.hex():
        raise unusable("other-model", f"{place} starts from another model than the charter.", place)
    if not release.contributors:
        raise unusable("no-contributors", f"{place} names no contributing hospital.", place)
    _require_enough(charter, release, place)
    verify_signatures(signed, charter.charter, [contributor.name for contributor in release.contributors])


def _require_enough(charter: VerifiedCharter, release: Release, place: str) -> None:
    """No sum is over fewer than the threshold: fewer could all collude, and sign whatever they like."""
    named, threshold = len(release.contributors), charter.charter.threshold
    if named < threshold:
        raise unusable(
            "too-few-contributors",
            f"{place} names {named} contributing hospitals; under the charter every sum is over at least {threshold}.",
            place,
        )


def _sha256_of(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise unreadable(path, error) from error
