"""Whether others vouch for sums that a hospital cannot check itself, because it was not set up in their epoch.

Knows signed STATUS messages and positions in a training. Knows nothing of sums.

The argument: more members than may collude have signed that they are at a position. One of them is honest; what it says
it has, it has checked by tags, or had endorsed in turn.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from secagg.charter import VerifiedCharter
from secagg.errors import RemoteProtocolError
from secagg.wire import Stage, open_envelope
from secagg.wire.envelope import decode
from training.hospital_state import HospitalState
from training.messages import STATUS_LIMIT, Status
from training.model_state import ModelLayout


@dataclass(frozen=True)
class Position:
    """Where a hospital is: how many sums of either kind it has, and the digest of what they came to."""

    statistics: int
    steps: int
    state: bytes

    @classmethod
    def of(cls, state: HospitalState, layout: ModelLayout) -> Position:
        """A hospital's own."""
        return cls(len(state.moments), state.steps, state.digest(layout))

    @classmethod
    def told(cls, status: Status) -> Position:
        """What another says of itself."""
        return cls(status.statistics, status.steps, status.state_digest)


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
            raise RemoteProtocolError("unexpected-message", "Among the endorsements is a message that is none.")
        if Position.told(decode(envelope.payload, Status)) == position:
            endorsers.add(envelope.header.sender)
    endorsers.discard(own)
    if len(endorsers) <= charter.charter.max_colluding:
        raise RemoteProtocolError(
            "not-endorsed",
            f"{len(endorsers)} other hospitals have signed for what the missed sums led to; "
            f"it takes {charter.charter.max_colluding + 1}.",
        )
