"""What the coordinator asks members outside every epoch, sealed, and what they answer, read.

Knows envelopes. Decides nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from typing import TypeVar

import msgspec

from secagg.charter import VerifiedCharter
from secagg.errors import RemoteProtocolError
from secagg.wire import COORDINATOR, Envelope, Sealer, Stage, open_envelope
from secagg.wire.envelope import decode
from training.messages import LARGEST_ANSWER, STATUS_LIMIT, Status
from training.position import Position, furthest
from training.reached import Reached

PayloadT = TypeVar("PayloadT", bound=msgspec.Struct)
Inbox = Iterable[tuple[int, bytes]]
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


def cohort_told(statuses: Iterable[Status], reached: Reached, most_liars: int) -> tuple[int, ...]:
    """The survivors of the sum after ``reached`` of which more members than may lie gave shares, or which they opened.

    Of several, those that most say: who did so for one cohort does it for no other. Empty if there are none.
    """
    told = Counter(status.revealed_for for status in statuses if status.reached == reached and status.revealed_for)
    return max((cohort for cohort in told if told[cohort] > most_liars), key=told.__getitem__, default=())


def read_statuses(charter: VerifiedCharter, inbox: Inbox) -> Signed:
    """Every STATUS among what came, the last of each member."""
    return _answers(charter, inbox, Stage.STATUS, Status, STATUS_LIMIT)


def read_answers(charter: VerifiedCharter, inbox: Inbox, stage: Stage, kind: type[PayloadT]) -> dict[int, PayloadT]:
    """Every answer of a stage among what came, the last of each member."""
    return {sender: payload for sender, (payload, _) in _answers(charter, inbox, stage, kind, LARGEST_ANSWER).items()}


def _answers(
    charter: VerifiedCharter, inbox: Inbox, stage: Stage, kind: type[PayloadT], limit: int
) -> dict[int, tuple[PayloadT, bytes]]:
    answers = {}
    for sender, message in inbox:
        # One hospital's senseless answer is as good as none: it must not stop the others.
        with suppress(RemoteProtocolError):
            envelope = open_from(charter, sender, message, limit)
            if envelope.header.stage is stage:
                answers[sender] = decode(envelope.payload, kind), message
    return answers
