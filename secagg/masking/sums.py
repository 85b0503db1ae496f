"""The sum in a message, as a hospital reads it.

Knows payloads and sizes. Whether a sum may be that of a round is decided in `secagg.masking.client`; whether it is the
true one, in `secagg.masking.verification`.
"""

from __future__ import annotations

from secagg.encoding import unpack
from secagg.errors import RemoteProtocolError
from secagg.masking.messages import EncryptedSum, Sum
from secagg.masking.session import RoundSum, Session, Settled, Survivors
from secagg.wire import Envelope
from secagg.wire.envelope import decode


def settled_by(
    payload: Sum | EncryptedSum, round_number: int, session: Session, participants: frozenset[int]
) -> Settled:
    """What a sum says of itself.

    Raises:
        RemoteProtocolError: ``wrong-length``, of its tag; if the survivors are not allowed, as `Survivors.check`.
    """
    survivors = Survivors.check(payload.survivors, session, participants)
    if len(payload.tag) != session.tag_size:
        raise RemoteProtocolError("wrong-length", f"A sum carries a tag of {len(payload.tag)} bytes.")
    return Settled(round_number, payload.step, survivors, payload.model_digest)


def plain_sum(payload: Sum, settled: Settled, session: Session) -> RoundSum:
    """The sum, where it is not encrypted.

    Raises:
        RemoteProtocolError: if the vector's length is not allowed.
    """
    vector = unpack(payload.vector, session.length, session.ring)
    return settled.summed(vector, int.from_bytes(payload.tag, "little"))


def read_sum(envelope: Envelope, session: Session, participants: frozenset[int]) -> RoundSum:
    """The sum in a SUM or MISSED_SUM message, where it is not encrypted.

    Raises:
        RemoteProtocolError: if what it says of itself or the vector's length is not allowed.
    """
    payload = decode(envelope.payload, Sum)
    return plain_sum(payload, settled_by(payload, envelope.header.round, session, participants), session)
