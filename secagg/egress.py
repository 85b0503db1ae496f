"""The egress log: every message that leaves a hospital, written down before it leaves, and all that changed its model.

Knows messages from outside: header, size and hash. Knows nothing of what is in them, and no clock: times are given. How
entries are stored, chained, signed and checked is `secagg.signed_log`'s business.
"""

from __future__ import annotations

import hashlib
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated, Final

import msgspec

from secagg.signed_log import Draft, LogEntry, LogKind, Sha256, SignedLog, Signer, read_log
from secagg.wire import Envelope, Stage
from secagg.wire.envelope import Counter, Party, peek


class Direction(StrEnum):
    """SENT: a message that is about to leave; TOOK: a sum or snapshot that is about to change this hospital's model."""

    SENT = "sent"
    TOOK = "took"


class EgressEntry(LogEntry, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One line of the egress log: something that passes the hospital's door.

    Attributes:
        charter: its hash.
        stage: name of the `secagg.wire.Stage`.
        epoch, round: 0 where there is none.
        recipient: member number, 0 is the coordinator.
        bytes: size of what ``sha256`` is of.
        sha256: of the whole message as it leaves; of a sum or snapshot that was taken, of its payload.
        time: as the caller's clock had it; recorded, never relied on.
    """

    charter: Sha256
    direction: Direction
    stage: Annotated[str, msgspec.Meta(pattern=r"^[A-Z_]{1,20}\Z")]
    epoch: Counter
    round: Counter
    recipient: Party
    bytes: Annotated[int, msgspec.Meta(ge=0, le=1 << 53)]
    sha256: Sha256
    time: Annotated[str, msgspec.Meta(max_length=40)]

    @property
    def took_sum(self) -> bool:
        """Whether it is a sum that was taken, as all were sent it."""
        return self.direction is Direction.TOOK and not self.took_snapshot

    @property
    def took_snapshot(self) -> bool:
        """Whether it is what another hospital handed over, sealed: in place of sums that this one missed."""
        return self.direction is Direction.TOOK and self.stage == Stage.SNAPSHOT.name


Passage = Draft[EgressEntry]
"""An entry but for its place in the log."""

EGRESS: Final = LogKind(
    EgressEntry,
    reason="egress",
    article="an",
    name="egress log",
    remedy="Nothing leaves this site until an officer has looked into it.",
    put_back="Put the newest egress log back.",
    chain_label=b"secagg egress entry 1\n",
    signature_label=b"secagg egress signature 1\n",
)


class EgressLog(SignedLog[EgressEntry]):
    """The egress log of one hospital, for all its charters.

    Raises:
        InputError: ``state-in-use``, ``unwritable``.
        TamperingError: ``egress-damaged``, ``egress-altered``, naming the first entry that does not fit.
    """

    def __init__(self, path: Path, identity: Signer) -> None:
        super().__init__(path, identity, EGRESS)

    def record(self, *passages: Passage) -> None:
        """Write down what passes, in this order: all of it or nothing, durably.

        Raises:
            InputError: ``unwritable``: nothing of it may pass.
            TamperingError: ``egress-damaged``: likewise.
        """
        self._write(*passages)


def read_egress(path: Path, public_key: bytes) -> tuple[EgressEntry, ...]:
    """Verify an egress log and give its entries, without taking its lock: for showing and auditing.

    Raises:
        InputError: ``unreadable``.
        TamperingError: ``egress-damaged``, ``egress-altered``, naming the first entry that does not fit.
    """
    return read_log(path, public_key, EGRESS)


def sending(message: bytes, time: str) -> Passage:
    """The passage of a message that this hospital is about to send.

    Raises:
        RemoteProtocolError: ``malformed``, if it is no message.
    """
    header = peek(message)
    return partial(
        EgressEntry,
        charter=header.charter.hex(),
        direction=Direction.SENT,
        stage=header.stage.name,
        epoch=header.epoch,
        round=header.round,
        recipient=header.recipient,
        bytes=len(message),
        sha256=hashlib.sha256(message).hexdigest(),
        time=time,
    )


def taking(envelope: Envelope, member: int, time: str) -> Passage:
    """The passage of what ``member``, this hospital, is about to take.

    Of a sum, the payload is what all were sent; of a snapshot, what its donor sealed for this hospital alone.
    """
    header = envelope.header
    return partial(
        EgressEntry,
        charter=header.charter.hex(),
        direction=Direction.TOOK,
        stage=header.stage.name,
        epoch=header.epoch,
        round=header.round,
        recipient=member,
        bytes=len(envelope.payload),
        sha256=header.payload_digest.hex(),
        time=time,
    )
