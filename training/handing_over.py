"""What a hospital hands to another that is behind, once it has seen that it is.

Knows signed positions and this hospital's own state. Hands over the one sum that is missing, or else the state, as to
one that has come by other sums to where another is missing; others must vouch for either.
"""

from __future__ import annotations

from secagg.charter import VerifiedCharter
from secagg.encoding import pack
from secagg.errors import RemoteProtocolError
from secagg.masking import RoundSum, Session
from secagg.masking.messages import KEY_SIZE, Sum
from secagg.masking.shamir import Randomness
from secagg.wire import COORDINATOR, Sealer, Stage, open_envelope
from secagg.wire.envelope import decode
from training.hospital_state import HospitalState
from training.messages import STATUS_LIMIT, AskSnapshot, Snapshot, Status
from training.model_state import ModelLayout
from training.position import Position, can_replace
from training.snapshot_content import content_of_state, content_of_sum
from training.snapshots import Route, seal_snapshot


def hand_over(
    payload: AskSnapshot,
    own: HospitalState,
    layout: ModelLayout,
    charter: VerifiedCharter,
    donor: int,
    randomness: Randomness,
) -> tuple[int, Snapshot]:
    """Seal what the one lacks whose STATUS is shown, and say who that is.

    Args:
        donor: this hospital's number.

    Raises:
        RemoteProtocolError: ``not-behind``, ``no-snapshot-key``, ``unexpected-message``, ``weak-key``; whatever is
            wrong with the STATUS.
        InputError: ``snapshot-too-large``.
    """
    asking = open_envelope(payload.status, charter, STATUS_LIMIT)
    if asking.header.stage is not Stage.STATUS:
        raise RemoteProtocolError("unexpected-message", "A snapshot was asked for by a message that is not a STATUS.")
    status, route = decode(asking.payload, Status), Route(charter, donor, asking.header.sender)
    name = route.name(route.recipient)
    told = Position.told(status)
    if not can_replace(Position.of(own, layout), told):
        raise RemoteProtocolError("not-behind", f"{name} is not behind this hospital.", culprit=name)
    if len(status.snapshot_key) != KEY_SIZE:
        raise RemoteProtocolError("no-snapshot-key", f"{name} has given no key to seal a snapshot with.", culprit=name)
    content = _lacking(own, told, charter)
    return route.recipient, seal_snapshot(route, content, status.snapshot_key, randomness)


def _lacking(own: HospitalState, told: Position, charter: VerifiedCharter) -> bytes:
    """The last sum, where it was taken in the state that the other is in; otherwise the state."""
    if own.last_sum:
        taken = decode(open_envelope(own.last_sum, charter, len(own.last_sum)).payload, Sum)
        if taken.model_digest == told.state:
            return content_of_sum(own.last_sum)
    return content_of_state(own, charter.charter)


def as_missed_sum(total: RoundSum, session: Session) -> bytes:
    """A sum that this hospital has checked, as the message in which a coordinator that had it would send it again."""
    payload = Sum(
        total.step,
        list(total.survivors.numbers),
        total.model,
        memoryview(pack(total.vector, session.ring)),
        total.tag.to_bytes(session.tag_size, "little"),
    )
    sealer = Sealer(session.charter, COORDINATOR, None, session.epoch)
    return sealer.seal(Stage.MISSED_SUM, payload, round=total.round)
