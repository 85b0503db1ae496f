"""What the coordinator makes of the hospitals' attestations: a release, if all who contributed signed the same one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from secagg.charter import VerifiedCharter
from secagg.errors import ProtocolError, RemoteProtocolError, TamperingError
from secagg.identity import fingerprint
from secagg.masking.messages import Refusal
from secagg.release.dsse import StatementSignature, assemble, is_signed_by
from secagg.release.statement import read_statement
from secagg.wire import Stage
from secagg.wire.envelope import decode
from training.hospital_folder import HospitalFolder
from training.messages import LARGEST_ANSWER, Attest
from training.round_record import RefusalRecord, differing
from training.statuses import open_from


def read_attestations(
    charter: VerifiedCharter, inbox: Sequence[tuple[int, bytes]]
) -> tuple[dict[int, Attest], list[RefusalRecord]]:
    """Who attests to what, by member; and who refused, or sent what is no attestation. Of each, what came last."""
    attestations: dict[int, Attest] = {}
    refusals: dict[int, RefusalRecord] = {}
    for sender, message in inbox:
        try:
            envelope = open_from(charter, sender, message, LARGEST_ANSWER)
            if envelope.header.stage is Stage.ATTEST:
                attestations[sender] = decode(envelope.payload, Attest)
            else:
                refusals[sender] = RefusalRecord.of(charter, sender, decode(envelope.payload, Refusal))
        except RemoteProtocolError as error:
            refusals[sender] = RefusalRecord.of(charter, sender, error)
    return attestations, list(refusals.values())


def assemble_release(
    charter: VerifiedCharter, attestations: Mapping[int, Attest], refusals: Sequence[RefusalRecord]
) -> bytes:
    """The statement that all signed whom it names as contributors, with their signatures, as a DSSE file.

    There is one at most: it names a threshold of members, any two of which have an honest one in common, who signs one.
    What others attest to, who contributed to nothing or lie, is in nobody's way.

    Args:
        refusals: to be told with what is missing; the first three that differ.

    Raises:
        ProtocolError: ``release-disputed``, ``release-incomplete``.
    """
    signed: dict[bytes, dict[str, StatementSignature]] = {}
    for sender, attest in attestations.items():
        member = charter.charter.member(sender)
        signature = StatementSignature(fingerprint(member.public_key), attest.signature)
        if is_signed_by(attest.statement, signature, member.public_key):
            signed.setdefault(attest.statement, {})[member.name] = signature
    missing: list[frozenset[str]] = []
    for statement, signatures in signed.items():
        contributors = _contributors(charter, statement)
        if contributors <= signatures.keys():
            return assemble(statement, [signatures[name] for name in contributors]).to_json()
        missing.append(contributors - signatures.keys())
    told = "; ".join(f"{', '.join(names)}: {message}" for (_, message), names in differing(refusals))
    if len(missing) > 1:
        raise _disputed(charter, list(signed.values()), told)
    raise _incomplete(missing, told)


def _contributors(charter: VerifiedCharter, statement: bytes) -> frozenset[str]:
    """The members that a statement names; all of them where it cannot be one of a release."""
    everybody = frozenset(member.name for member in charter.charter.members)
    try:
        named = frozenset(entry.name for entry in read_statement(statement).predicate.contributors)
    except TamperingError:
        return everybody
    return named if len(named) >= charter.charter.threshold else everybody


def elsewhere(charter: VerifiedCharter, members: Iterable[int]) -> list[RefusalRecord]:
    """What is told of members who are not asked to attest, because their model came of other sums than the others'.

    Who attests to a release attests to no other: it would never come to the others' any more.
    """
    return [
        RefusalRecord(
            charter.charter.member(member).name,
            "elsewhere",
            f"It has other sums than the others, and is not asked to sign. If that stays so, {_start_over(charter)}",
        )
        for member in members
    ]


def _start_over(charter: VerifiedCharter) -> str:
    """How a hospital gives up what it has come to."""
    state = HospitalFolder(Path()).state(charter.digest)
    return f"stop it, remove {state} from its folder and start it again: the others have what it then lacks."


def _disputed(charter: VerifiedCharter, groups: Iterable[Iterable[str]], told: str) -> ProtocolError:
    named = sorted((sorted(group) for group in groups), key=len, reverse=True)
    first, *others = (", ".join(names) for names in named)
    return ProtocolError(
        "release-disputed",
        f"The hospitals attest to {len(named)} different releases: {first} to one, "
        f"{' and '.join(f'{names} to another' for names in others)}. {told}".strip(),
        remedy="Who was away while the last sum was made anew has the earlier one. If that is why a few differ, for "
        f"each of them: {_start_over(charter)} Otherwise find out whose model was changed before anything is used.",
    )


def _incomplete(missing: Sequence[frozenset[str]], told: str) -> ProtocolError:
    if not missing:
        return ProtocolError(
            "release-incomplete",
            f"No hospital signed a release. {told}".strip(),
            remedy="Their refusals say what must be fixed.",
        )
    (names,) = missing
    return ProtocolError(
        "release-incomplete",
        f"{', '.join(sorted(names))} contributed but did not sign the release. {told}".strip(),
        remedy="Go on with the run once they can be reached and agree.",
    )
