"""The stages of the protocol: a number for each kind of message. `docs/protocol.md` lists their payloads."""

from __future__ import annotations

from enum import IntEnum


class Stage(IntEnum):
    """What a message is. 1 to 12 are the masking protocol's; the rest surround it: state, missed sums, the release."""

    OPEN = 1
    ADVERTISE = 2
    ROSTER = 3
    DEAL = 4
    DEALS = 5
    BEGIN = 6
    MASKED = 7
    UNMASK = 8
    REVEAL = 9
    SUM = 10
    ABORT = 11
    REFUSAL = 12
    QUERY = 13
    STATUS = 14
    MISSED_SUM = 15
    CONCLUDE = 16
    ATTEST = 17
    RELEASE = 18

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
        Stage.UNMASK,
        Stage.SUM,
        Stage.ABORT,
        Stage.QUERY,
        Stage.MISSED_SUM,
        Stage.CONCLUDE,
        Stage.RELEASE,
    }
)
