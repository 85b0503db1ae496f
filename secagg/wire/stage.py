"""The stages of the protocol: a number for each kind of message. `docs/protocol.md` lists their payloads."""

from __future__ import annotations

from enum import IntEnum


class Stage(IntEnum):
    """What a message is. 1 to 14 and 22 are the masking protocol's, the rest are around it: state, release, logs."""

    OPEN = 1
    ADVERTISE = 2
    ROSTER = 3
    DEAL = 4
    DEALS = 5
    BEGIN = 6
    MASKED = 7
    PROPOSE = 8
    AGREE = 9
    UNMASK = 10
    REVEAL = 11
    SUM = 12
    ABORT = 13
    REFUSAL = 14
    QUERY = 15
    STATUS = 16
    MISSED_SUM = 17
    CONCLUDE = 18
    ATTEST = 19
    RELEASE = 20
    ENDORSED = 21
    ACKNOWLEDGE = 22
    ASK_SNAPSHOT = 23
    SNAPSHOT = 24
    CHECKPOINT = 25
    WITNESS = 26
    COSIGN = 27
    COSIGNED = 28

    @property
    def sent_by_coordinator(self) -> bool:
        """Whether the coordinator sends it (unsigned) or a hospital does (signed)."""
        return self in _FROM_COORDINATOR


_FROM_COORDINATOR = frozenset(
    {
        Stage.OPEN,
        Stage.ROSTER,
        Stage.DEALS,
        Stage.BEGIN,
        Stage.PROPOSE,
        Stage.UNMASK,
        Stage.SUM,
        Stage.ABORT,
        Stage.QUERY,
        Stage.MISSED_SUM,
        Stage.CONCLUDE,
        Stage.RELEASE,
        Stage.ENDORSED,
        Stage.ASK_SNAPSHOT,
        Stage.WITNESS,
        Stage.COSIGNED,
    }
)
