"""Messages of other hospitals that the coordinator shows to one.

Knows envelopes. Knows nothing of what is in them.
"""

from __future__ import annotations

from secagg.errors import RemoteProtocolError
from secagg.masking.limits import payload_limit
from secagg.masking.remedies import COORDINATOR_LIES
from secagg.masking.session import Session
from secagg.wire import Envelope, Stage, open_envelope


def open_passed_on(message: memoryview, session: Session, stage: Stage) -> Envelope:
    """Open a message of another hospital, no larger than its stage allows.

    Raises:
        RemoteProtocolError: as `open_envelope`, naming the coordinator: it passes on nothing that it could not open
            itself, whoever is said to have sent it.
    """
    try:
        return open_envelope(message, session.charter, payload_limit(session, stage))
    except RemoteProtocolError as error:
        raise RemoteProtocolError(
            error.reason, error.message, culprit="the coordinator", remedy=COORDINATOR_LIES
        ) from error
