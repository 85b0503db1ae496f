"""How large a delivery may be: the charter says it, and NVFlare refuses a larger one before it allocates anything."""

from __future__ import annotations

from typing import Final

from secagg.charter import VerifiedCharter
from secagg.charter.state_size import largest_snapshot
from secagg.masking import Purpose, Session
from secagg.masking.limits import payload_limit
from secagg.wire import Stage
from training.parcels import LARGEST_PARCEL

VARIABLE: Final = "NVFLARE_STREAMING_MAX_BLOB_SIZE"
_OVERHEAD: Final = 1024 * 1024


def largest_delivery(charter: VerifiedCharter) -> int:
    """Bytes of the largest delivery of a run, either way.

    It is all that a member is sent at once: a message of the protocol, all deals, or sums that it missed.
    """
    sessions = [Session.unopened(charter, purpose) for purpose in Purpose]
    members = len(charter.charter.members)
    stages = (Stage.MASKED, Stage.SUM, Stage.ROSTER, Stage.REVEAL)
    one = max(payload_limit(session, stage) for session in sessions for stage in stages)
    deals = members * max(payload_limit(session, Stage.DEAL) for session in sessions)
    return max(LARGEST_PARCEL, one, deals, largest_snapshot(charter.charter)) + _OVERHEAD
