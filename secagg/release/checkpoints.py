"""How far every hospital's logs had come when a run ended, signed by each for its own and by all for the whole.

Knows the in-toto statement (v1) and its signatures. Who has it cannot be shown another beginning of a log later, not by
the hospital itself either, as long as one of those that have signed beside it is honest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import msgspec

from secagg.charter import Charter, VerifiedCharter
from secagg.charter.names import Name
from secagg.files import read_bounded
from secagg.identity import Identity, Signature, fingerprint, is_valid_signature
from secagg.json_documents import MALFORMED
from secagg.labels import label
from secagg.log_excerpt import LogCheckpoint
from secagg.release.dsse import LARGEST_STATEMENT, SignedStatement, is_signed_by, read_envelope
from secagg.release.statement import STATEMENT_TYPE
from secagg.release.unusable import of_another_charter, unusable
from secagg.signed_log import Sha256
from secagg.transcript.files import FileCheckpoint

CHECKPOINTS_FILE: Final = "checkpoints.dsse.json"
PREDICATE_TYPE: Final = "tag:secagg,2026:checkpoints/v1"


class SiteCheckpoint(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One hospital's logs; ``signature`` is its own, so that nobody can speak for it."""

    name: Name
    ledger: LogCheckpoint
    egress: LogCheckpoint
    signature: Signature


class Checkpoints(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The predicate.

    Attributes:
        sites: of those that could be reached, in the order of the charter.
        transcript: as the coordinator had it when it asked. That it says so is all that hospitals sign for: it can give
            out no other later.
    """

    sites: tuple[SiteCheckpoint, ...]
    transcript: tuple[FileCheckpoint, ...]


class _Digest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    sha256: Sha256


class _Subject(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: Literal["charter"]
    digest: _Digest


class _Statement(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"type": "_type"}):
    type: Literal["https://in-toto.io/Statement/v1"]
    subject: tuple[_Subject]
    predicateType: Literal["tag:secagg,2026:checkpoints/v1"]  # noqa: N815 - in-toto's name
    predicate: Checkpoints


@dataclass(frozen=True)
class VerifiedCheckpoints:
    """Made by `verify_checkpoints`.

    Attributes:
        by_name: each hospital's, by its name.
        transcript: the coordinator's.
        cosigned_by: who has signed the whole.
        digest: SHA-256 of what they have signed, hexadecimal, whoever has.
    """

    by_name: Mapping[str, SiteCheckpoint]
    transcript: tuple[FileCheckpoint, ...]
    cosigned_by: tuple[str, ...]
    digest: str


def sign_checkpoint(
    charter: VerifiedCharter, name: str, ledger: LogCheckpoint, egress: LogCheckpoint, identity: Identity
) -> SiteCheckpoint:
    """A hospital's word about its own logs."""
    signature = identity.sign(_signed_bytes(charter, name, ledger, egress))
    return SiteCheckpoint(name, ledger, egress, signature)


def checkpoints_statement(
    charter: VerifiedCharter, sites: Iterable[SiteCheckpoint], transcript: Iterable[FileCheckpoint] = ()
) -> bytes:
    """The canonical bytes of the statement about all: JSON, sorted keys, no white space."""
    ordered = tuple(sorted(sites, key=lambda site: charter.charter.number_of(site.name)))
    subject = _Subject("charter", _Digest(charter.digest.hex()))
    statement = _Statement(STATEMENT_TYPE, (subject,), PREDICATE_TYPE, Checkpoints(ordered, tuple(transcript)))
    return msgspec.json.encode(statement, order="sorted")


def holds_checkpoints(folder: Path) -> bool:
    """Whether there are checkpoints beside the release in ``folder``."""
    return (folder / CHECKPOINTS_FILE).exists()


def read_checkpoints(folder: Path, charter: VerifiedCharter) -> VerifiedCheckpoints:
    """The checkpoints beside a release, verified.

    Raises:
        InputError: ``unreadable``.
        TamperingError: see `verify_checkpoints`.
    """
    path = folder / CHECKPOINTS_FILE
    return verify_checkpoints(read_envelope(read_bounded(path, 2 * LARGEST_STATEMENT), str(path)), charter, str(path))


def verify_checkpoints(
    signed: SignedStatement, charter: VerifiedCharter, source: str = CHECKPOINTS_FILE
) -> VerifiedCheckpoints:
    """Check that it is about this charter's run, each checkpoint its hospital's, and each signature a member's.

    Raises:
        TamperingError: ``malformed-statement``, ``other-charter``, ``not-a-member``, ``bad-checkpoint-signature``,
            ``bad-statement-signature``, ``stray-signature``.
    """
    said = verify_sites(signed.payload, charter, source)
    by_key = {fingerprint(member.public_key): member for member in charter.charter.members}
    cosigned = []
    for signature in signed.signatures:
        member = by_key.pop(signature.keyid, None)
        if member is None:
            what = f"{source} carries a signature that is not a member's, or one member's twice."
            raise unusable("stray-signature", what, None)
        if not is_signed_by(signed.payload, signature, member.public_key):
            what = f"The signature of {member.name} is not over the checkpoints in {source}."
            raise unusable("bad-statement-signature", what, member.name)
        cosigned.append(member.name)
    digest = hashlib.sha256(signed.payload).hexdigest()
    return VerifiedCheckpoints(
        {site.name: site for site in said.sites}, said.transcript, tuple(sorted(cosigned)), digest
    )


def is_vouched_for(checkpoints: VerifiedCheckpoints, charter: Charter) -> bool:
    """Whether enough hospitals have signed it."""
    return enough_to_vouch(len(checkpoints.cosigned_by), charter.max_colluding)


def enough_to_vouch(signers: int, colluding: int) -> bool:
    """Whether an honest hospital is among the others, whichever signer is in doubt: ``colluding`` others may lie."""
    return signers >= fewest_to_vouch(colluding)


def fewest_to_vouch(colluding: int) -> int:
    """How many signers are `enough_to_vouch`."""
    return colluding + 2


def signed_transcript(checkpoints: VerifiedCheckpoints | None, charter: Charter) -> tuple[FileCheckpoint, ...]:
    """The transcript that hospitals vouch for; empty where too few have signed: they may have signed another, too."""
    return checkpoints.transcript if checkpoints and is_vouched_for(checkpoints, charter) else ()


def verify_sites(statement: bytes, charter: VerifiedCharter, source: str) -> Checkpoints:
    """The same of a statement that nobody has signed as a whole yet.

    Raises:
        TamperingError: ``malformed-statement``, ``other-charter``, ``not-a-member``, ``bad-checkpoint-signature``.
    """
    try:
        content = msgspec.json.decode(statement, type=_Statement)
    except MALFORMED as error:
        raise unusable("malformed-statement", f"{source} cannot be read: {error}.", source) from error
    if content.subject[0].digest.sha256 != charter.digest.hex():
        raise of_another_charter(f"{source} is about the run of another charter.", source)
    sites = content.predicate.sites
    keys = {member.name: member.public_key for member in charter.charter.members}
    for site in sites:
        key = keys.pop(site.name, None)
        if key is None:
            what = f"{source} tells of {site.name}, which is not a member, or tells of it twice."
            raise unusable("not-a-member", what, site.name)
        if not is_valid_signature(key, site.signature, _signed_bytes(charter, site.name, site.ledger, site.egress)):
            what = f"The checkpoint of {site.name} in {source} is not what {site.name} signed."
            raise unusable("bad-checkpoint-signature", what, site.name)
    files = content.predicate.transcript
    if len({file.name for file in files}) < len(files):
        raise unusable("malformed-statement", f"{source} names a file of the transcript twice.", source)
    if checkpoints_statement(charter, sites, files) != statement:
        raise unusable("malformed-statement", f"{source} is not spelt as it was written.", source)
    return content.predicate


def _signed_bytes(charter: VerifiedCharter, name: str, ledger: LogCheckpoint, egress: LogCheckpoint) -> bytes:
    roots = bytes.fromhex(ledger.root), bytes.fromhex(egress.root)
    return label("log checkpoint", charter.digest, name, ledger.entries, roots[0], egress.entries, roots[1])
