"""Which vectors a sum is made of, by what their senders have signed: the signed contributor list, and its digest.

Knows headers and signatures. Knows nothing of ciphertexts. What is in an encrypted sum itself, its tag shows once it is
open; a sum is not opened at all for contributors who signed nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from secagg.errors import RemoteProtocolError
from secagg.labels import digest
from secagg.masking.messages import Contribution
from secagg.masking.session import Session, Survivors
from secagg.wire import Envelope, Stage
from secagg.wire.envelope import is_signed_for_coordinator


def detach_contribution(envelope: Envelope) -> Contribution:
    """What others need of a Masked envelope."""
    header = envelope.header
    return Contribution(header.sequence, header.payload_digest, envelope.signature)


def inputs_digest(advertised: Sequence[bytes], contributions: Sequence[Contribution]) -> bytes:
    """SHA-256 of all that a sum follows from: 32 bytes. Survivors sign it with the shares that they give.

    Args:
        advertised: SHA-256 of what each participant advertised, by member number: in a sparse graph hospitals sign
            nowhere else what those have advertised who are no peers of theirs.
        contributions: of the survivors, by member number.
    """
    sent = [contribution.payload_digest for contribution in contributions]
    return digest("inputs", b"".join([*advertised, *sent]))


def require_contributions(
    contributions: Sequence[Contribution], survivors: Survivors, session: Session, round_number: int
) -> None:
    """Refuse a sum unless each of ``survivors`` has signed a vector of this round.

    Raises:
        RemoteProtocolError: ``contributors-missing`` or ``forged-contribution``.
    """
    if len(contributions) != len(survivors.numbers):
        raise RemoteProtocolError(
            "contributors-missing",
            f"A sum over {len(survivors.numbers)} hospitals comes with the signatures of {len(contributions)}.",
            culprit="the coordinator",
        )
    for number, contribution in zip(survivors.numbers, contributions, strict=True):
        if not is_signed_for_coordinator(
            session.charter,
            number,
            session.epoch,
            round_number,
            Stage.MASKED,
            contribution.sequence,
            contribution.payload_digest,
            contribution.signature,
        ):
            raise RemoteProtocolError(
                "forged-contribution",
                f"A sum is said to hold a vector of {session.name(number)}, which it has not signed.",
                culprit="the coordinator",
            )
