"""Whether others vouch for what a hospital was given and cannot check itself: a state, or sums of another epoch.

Knows signed STATUS messages and positions in a training. Knows nothing of sums or snapshots.

The argument: more members than may collude have signed that they are at a position. One of them is honest; what it says
it has, it has checked by tags, or had endorsed in turn.
"""

from __future__ import annotations

from collections.abc import Iterable

from secagg.charter import Charter, VerifiedCharter
from secagg.errors import RemoteProtocolError
from secagg.masking.limits import ENVELOPE
from secagg.wire import Stage, open_envelope
from secagg.wire.envelope import decode
from training.messages import STATUS_LIMIT, Status
from training.position import Position


def endorsed_limit(charter: Charter) -> int:
    """Bytes of the largest payload of an ENDORSED: a word of each member."""
    return len(charter.members) * (STATUS_LIMIT + ENVELOPE) + 16


def require_endorsed(position: Position, statuses: Iterable[memoryview], charter: VerifiedCharter, own: int) -> None:
    """Refuse a position that no more members have signed for than may collude.

    Args:
        statuses: STATUS envelopes; those that say something else count for nothing.
        own: this hospital's number; its own word does not count.

    Raises:
        RemoteProtocolError: ``not-endorsed``; whatever is wrong with an envelope.
    """
    endorsers = set()
    for message in statuses:
        envelope = open_envelope(message, charter, STATUS_LIMIT)
        if envelope.header.stage is not Stage.STATUS:
            raise RemoteProtocolError("unexpected-message", "Among the endorsements is a message that is not one.")
        if Position.told(decode(envelope.payload, Status)) == position:
            endorsers.add(envelope.header.sender)
    endorsers.discard(own)
    if len(endorsers) <= charter.charter.max_colluding:
        raise RemoteProtocolError(
            "not-endorsed",
            f"{len(endorsers)} other hospitals have signed for the state that this leads to; "
            f"it takes {charter.charter.max_colluding + 1}.",
        )
