"""Signatures of all members on one charter, and the type that only verification can make.

Knows Ed25519 signatures over the charter's hash. Every later step takes a `VerifiedCharter`, so that an unsigned or
altered charter cannot be used by mistake.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from secagg.charter.model import Charter
from secagg.charter.names import Name
from secagg.errors import InputError, TamperingError
from secagg.identity import Identity, Signature, is_valid_signature
from secagg.json_documents import MALFORMED, json_for_people
from secagg.labels import label

LARGEST_SIGNATURES = 1024 * 1024


class CharterSignature(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One member's Ed25519 signature (64 bytes) over the charter's hash."""

    member: Name
    signature: Signature


class VerifiedCharter:
    """A charter that every member has signed. Made by `verify_charter` and nothing else."""

    def __init__(
        self, charter: Charter, digest: bytes, signatures: tuple[CharterSignature, ...], *, _by_verifier: object
    ) -> None:
        if _by_verifier is not _VERIFIER:
            raise TypeError("a VerifiedCharter is made by verify_charter")
        self.charter = charter
        self.digest = digest
        self.signatures = signatures

    def __repr__(self) -> str:
        return f"VerifiedCharter({self.charter.name}, {self.digest.hex()[:16]})"


_VERIFIER = object()


def sign_charter(charter: Charter, identity: Identity) -> CharterSignature:
    """Sign ``charter`` as the member that has this identity's key.

    Raises:
        InputError: ``unknown-member`` if no member of the charter has it.
    """
    number = charter.number_of_key(identity.public_key)
    return CharterSignature(charter.member(number).name, identity.sign(_signed_bytes(charter.digest())))


def verify_charter(charter: Charter, signatures: Iterable[CharterSignature]) -> VerifiedCharter:
    """Check that every member has signed exactly this charter.

    Raises:
        InputError: ``charter-unsigned``, naming the members whose signatures are missing.
        TamperingError: ``charter-altered``, if a signature is not over this charter.
    """
    digest = charter.digest()
    given = tuple(signatures)
    by_member = {signature.member: signature.signature for signature in given}
    for member in charter.members:
        signature = by_member.get(member.name)
        if signature is not None and not is_valid_signature(member.public_key, signature, _signed_bytes(digest)):
            raise TamperingError(
                "charter-altered",
                f"The signature of {member.name} is not over this charter: one of the two was changed after signing.",
                culprit=member.name,
                remedy="Compare the charter's hash with the other members; sign again only what all agree on.",
            )
    missing = [member.name for member in charter.members if member.name not in by_member]
    if missing:
        raise InputError(
            "charter-unsigned",
            f"The charter {charter.name} lacks the signature of {', '.join(missing)}.",
            culprit=missing[0],
            remedy="Each of them runs `secagg charter sign`.",
        )
    return VerifiedCharter(charter, digest, given, _by_verifier=_VERIFIER)


def render_signatures(signatures: Iterable[CharterSignature]) -> bytes:
    """The signatures as JSON, one member a line, by name."""
    ordered = sorted(signatures, key=lambda signature: signature.member)
    return json_for_people(ordered)


def parse_signatures(text: bytes, source: str = "The charter's signatures") -> tuple[CharterSignature, ...]:
    """Read what `render_signatures` wrote.

    Args:
        source: the file, for the error.

    Raises:
        TamperingError: ``malformed-signatures``.
    """
    try:
        return msgspec.json.decode(text, type=tuple[CharterSignature, ...])
    except MALFORMED as error:
        raise TamperingError(
            "malformed-signatures",
            f"{source} cannot be read: {error}.",
            culprit=source,
            remedy="Take the file from another member again, or remove it and let every member sign again.",
        ) from error


def _signed_bytes(digest: bytes) -> bytes:
    return label("charter signature", digest)
