"""DSSE (Dead Simple Signing Envelope, v1.0): one statement, one signature of each hospital.

Knows the pre-authentication encoding, the JSON form and Ed25519. Knows nothing of what the statement says.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Final, Literal

import msgspec

from secagg.charter import Charter
from secagg.identity import Identity, fingerprint, is_valid_signature
from secagg.json_documents import MALFORMED, json_for_people
from secagg.release.unusable import unusable

PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
LARGEST_STATEMENT: Final = 4 * 1024 * 1024


class StatementSignature(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One signature; ``keyid`` is the signer's fingerprint."""

    keyid: Annotated[str, msgspec.Meta(max_length=64)]
    sig: bytes


class SignedStatement(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The envelope: payload and signatures are base64 in JSON."""

    payload: bytes
    payloadType: Literal["application/vnd.in-toto+json"]  # noqa: N815 - DSSE's name
    signatures: tuple[StatementSignature, ...]

    def to_json(self) -> bytes:
        """The file's bytes, indented for people."""
        return json_for_people(self)


def attest(statement: bytes, identity: Identity) -> StatementSignature:
    """Sign a statement."""
    return StatementSignature(identity.fingerprint, identity.sign(_pre_authentication_encoding(statement)))


def assemble(statement: bytes, signatures: Iterable[StatementSignature]) -> SignedStatement:
    """Put a statement and its signatures into one envelope, signatures by key."""
    return SignedStatement(statement, PAYLOAD_TYPE, tuple(sorted(signatures, key=lambda item: item.keyid)))


def is_signed_by(statement: bytes, signature: StatementSignature, public_key: bytes) -> bool:
    """Whether ``signature`` is this key's over ``statement``."""
    return is_valid_signature(public_key, signature.sig, _pre_authentication_encoding(statement))


def read_envelope(data: bytes, source: str = "The signed statement") -> SignedStatement:
    """Parse an envelope, which must be written as `SignedStatement.to_json` writes it: base64 has several spellings.

    Args:
        source: the file, for the error.

    Raises:
        TamperingError: ``malformed-statement``.
    """
    try:
        signed = msgspec.json.decode(data, type=SignedStatement)
    except MALFORMED as error:
        raise unusable("malformed-statement", f"{source} cannot be read: {error}.", source) from error
    if signed.to_json() != data:
        raise unusable("malformed-statement", f"{source} is not spelt as it was written.", source)
    return signed


def verify_signatures(signed: SignedStatement, charter: Charter, contributors: Iterable[str]) -> None:
    """Check that every contributor, and nobody else, has signed.

    Raises:
        TamperingError: ``not-a-member``, ``repeated-contributor``, ``signature-missing``, ``bad-statement-signature``
            or ``stray-signature``, naming whose it is.
    """
    by_key = {signature.keyid: signature for signature in signed.signatures}
    keys = {member.name: member.public_key for member in charter.members}
    expected = set()
    for name in contributors:
        if name not in keys:
            raise unusable("not-a-member", f"{name} contributed but is not a member of the charter.", name)
        signature = by_key.get(fingerprint(keys[name]))
        if signature is None:
            raise unusable("signature-missing", f"{name} contributed but has not signed.", name)
        if signature.keyid in expected:
            raise unusable("repeated-contributor", f"{name} is named as a contributor twice.", name)
        if not is_signed_by(signed.payload, signature, keys[name]):
            raise unusable("bad-statement-signature", f"The signature of {name} is not over this statement.", name)
        expected.add(signature.keyid)
    stray = [signature.keyid for signature in signed.signatures if signature.keyid not in expected]
    if stray or len(by_key) != len(signed.signatures):
        what = "The statement carries a signature that is not a contributor's, or one contributor's twice."
        raise unusable("stray-signature", what, stray[0] if stray else None)


def _pre_authentication_encoding(body: bytes) -> bytes:
    kind = PAYLOAD_TYPE.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(body), body)
