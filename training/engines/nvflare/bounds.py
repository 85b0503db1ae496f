"""How large a delivery may be: the charter says it, and NVFlare refuses a larger one before it allocates anything."""

from __future__ import annotations

from typing import Final

from secagg.charter import VerifiedCharter
from secagg.charter.state_size import largest_snapshot
from secagg.masking import Session
from secagg.masking.limits import payload_limit
from secagg.wire import Stage
from training.parcels import LARGEST_PARCEL

VARIABLE: Final = "NVFLARE_STREAMING_MAX_BLOB_SIZE"
_OVERHEAD: Final = 1024 * 1024


def largest_delivery(charter: VerifiedCharter) -> int:
    """Bytes of the largest delivery of a run, either way.

    It is all that a member is sent at once: a message of the protocol, all deals, or sums that it missed.
    """
    session = Session.unopened(charter)
    members = len(charter.charter.members)
    one = max(payload_limit(session, stage) for stage in (Stage.MASKED, Stage.SUM, Stage.ROSTER, Stage.REVEAL))
    deals = members * payload_limit(session, Stage.DEAL)
    return max(LARGEST_PARCEL, one, deals, largest_snapshot(charter.charter)) + _OVERHEAD
