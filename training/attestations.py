"""What the coordinator makes of the hospitals' attestations: a release, if all who contributed signed the same one."""

from __future__ import annotations

from collections.abc import Sequence

from secagg.charter import VerifiedCharter
from secagg.errors import ProtocolError, RemoteProtocolError
from secagg.identity import fingerprint
from secagg.masking.messages import Refusal
from secagg.release.dsse import StatementSignature, assemble, is_signed_by
from secagg.release.statement import read_statement
from secagg.wire import Stage
from secagg.wire.envelope import decode
from training.messages import ATTEST_LIMIT, Attest
from training.report import RefusalRecord
from training.statuses import open_from


def read_attestations(
    charter: VerifiedCharter, inbox: Sequence[tuple[int, bytes]]
) -> tuple[list[tuple[int, Attest]], list[RefusalRecord]]:
    """Who attests to what, by member; and who refused, or sent what is no attestation."""
    attestations, refusals = [], []
    for sender, message in inbox:
        try:
            envelope = open_from(charter, sender, message, ATTEST_LIMIT)
            if envelope.header.stage is Stage.ATTEST:
                attestations.append((sender, decode(envelope.payload, Attest)))
            else:
                refusals.append(RefusalRecord.of(charter, sender, decode(envelope.payload, Refusal)))
        except RemoteProtocolError as error:
            name = charter.charter.member(sender).name
            refusals.append(RefusalRecord(name, error.reason, error.message))
    return attestations, refusals


def assemble_release(
    charter: VerifiedCharter, attestations: list[tuple[int, Attest]], refusals: list[RefusalRecord]
) -> bytes:
    """The release's statement with the signatures of all who contributed, as a DSSE file.

    Args:
        refusals: to be told with what is missing.

    Raises:
        ProtocolError: ``release-disputed``, ``release-incomplete``.
    """
    statements = {attest.statement for _, attest in attestations}
    told = "; ".join(f"{refusal.member}: {refusal.message}" for refusal in refusals)
    if len(statements) != 1:
        raise ProtocolError(
            "release-disputed",
            f"The hospitals attest to {len(statements)} different releases. {told}".strip(),
            remedy="Compare their model digests with `secagg model show` before anything is used.",
        )
    statement = statements.pop()
    contributors = {entry.name for entry in read_statement(statement).predicate.contributors}
    signatures = {}
    for sender, attest in attestations:
        member = charter.charter.member(sender)
        signature = StatementSignature(fingerprint(member.public_key), attest.signature)
        if member.name in contributors and is_signed_by(statement, signature, member.public_key):
            signatures[member.name] = signature
    missing = sorted(contributors - set(signatures))
    if missing:
        raise ProtocolError(
            "release-incomplete",
            f"{', '.join(missing)} contributed but did not sign the release. {told}".strip(),
            remedy="Go on with the run once they can be reached and agree.",
        )
    return assemble(statement, signatures.values()).to_json()
