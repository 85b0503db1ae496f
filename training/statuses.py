"""What the coordinator asks members outside every epoch, sealed, and what they answer, read.

Knows envelopes and STATUS. Decides nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

from secagg.charter import VerifiedCharter
from secagg.errors import RemoteProtocolError
from secagg.wire import COORDINATOR, Envelope, Sealer, Stage, open_envelope
from secagg.wire.envelope import decode
from training.messages import STATUS_LIMIT, Status
from training.position import Position, furthest

Signed = dict[int, tuple[Status, bytes]]
"""By member number, what it says of itself and the message in which it signed that."""


def outside_epochs(charter: VerifiedCharter) -> Sealer:
    """What the coordinator seals a message with that belongs to no epoch."""
    return Sealer(charter, COORDINATOR, None, 0)


def open_from(charter: VerifiedCharter, sender: int, message: bytes, limit: int) -> Envelope:
    """Open a message that came from ``sender``, of at most ``limit`` bytes of payload.

    Raises:
        RemoteProtocolError: ``wrong-sender``; whatever is wrong with the envelope.
    """
    envelope = open_envelope(message, charter, limit)
    if envelope.header.sender != sender:
        raise RemoteProtocolError("wrong-sender", "A message came from another member than the one who signed it.")
    return envelope


def furthest_told(signed: Signed, most_liars: int) -> Position | None:
    """The furthest position that more members say they are at than may lie; None if there is none."""
    return furthest((Position.told(status) for status, _ in signed.values()), most_liars)


def read_statuses(charter: VerifiedCharter, inbox: Iterable[tuple[int, bytes]]) -> Signed:
    """Every STATUS among what came, the last of each member."""
    statuses = {}
    for sender, message in inbox:
        # One hospital's senseless answer is as good as none: it must not stop the others.
        with suppress(RemoteProtocolError):
            envelope = open_from(charter, sender, message, STATUS_LIMIT)
            if envelope.header.stage is Stage.STATUS:
                statuses[sender] = decode(envelope.payload, Status), message
    return statuses
