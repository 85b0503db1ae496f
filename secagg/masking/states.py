"""The automata of both roles, as data: everything that decides whether a message is in turn lives here.

Rules:
- A pair (state, stage) that is not in the table is refused, and the state stays what it was: a duplicate, a replay or a
  message out of turn changes nothing.
- A hospital answers UNMASK once a round because only MASKED and AGREED lead to REVEALED, and nothing leads back to them
  within a round. The latch keeps the same rule on disk, across restarts.
- Where somebody dropped, a hospital first agrees to one survivor set (PROPOSE), and reveals when t hospitals have
  signed the same. Where nobody did, UNMASK comes at once: then no share of a mask key leaves. In a sparse graph, where
  a hospital cannot see what becomes of others' secrets, PROPOSE always comes first, and so it does where a step is
  tried again: some may have given their one answer already.
- A hospital that is shown a forged agreement answers no more in that round: it checks some of many, once.
- Where vectors are encrypted, the set-up ends when all hospitals have acknowledged the same secret (ACKNOWLEDGE).
- Where nothing is masked, nothing is revealed: the sum follows the vectors at once.
- A hospital that missed a round's beginning may take its end: SUM and ABORT are in turn while READY.
- A hospital that missed a round's end may go on with the next round: BEGIN is in turn after MASKED and REVEALED.
- A new epoch may be opened at any time; the latch refuses one that is not newer.
- A hospital that was given a forged sum stops, and nothing leads out of STOPPED: one try with each is all that a
  forger has.
- The first t AGREE and the first t REVEAL messages are enough (in a sparse graph: as many as were waited for, and t of
  each hospital's holders); those that come later are in turn and ignored.

This module knows neither keys nor bytes. The diagrams in ``docs/protocol.md`` are generated from these tables.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from functools import lru_cache
from typing import Final

from secagg.wire.stage import Stage


class ClientState(StrEnum):
    """Where a hospital is within an epoch."""

    IDLE = "idle"
    ADVERTISED = "advertised"
    DEALT = "dealt"
    READY = "ready"
    ASKED = "asked"
    MASKED = "masked"
    AGREED = "agreed"
    REVEALED = "revealed"
    STOPPED = "stopped"


class ServerState(StrEnum):
    """Where the coordinator is within an epoch."""

    IDLE = "idle"
    ADVERTISING = "advertising"
    DEALING = "dealing"
    ACKNOWLEDGING = "acknowledging"
    READY = "ready"
    COLLECTING = "collecting"
    AGREEING = "agreeing"
    UNMASKING = "unmasking"
    CLOSED = "closed"


class Action(StrEnum):
    """What a party's own side decides."""

    OPEN = "open"
    BEGIN = "begin"
    MASK = "mask"
    PROPOSE = "enough have answered, some have not"
    ADVANCE = "enough have answered"
    AWAIT = "all have dealt, and must acknowledge"
    SETTLE = "enough have answered, nothing is masked"
    GIVE_UP = "fewer than t have answered"
    STOP = "the sum is forged"
    DISTRUST = "an agreement is forged"


_C, _S = ClientState, ServerState
_WAITING = (_S.ADVERTISING, _S.DEALING, _S.ACKNOWLEDGING, _S.COLLECTING, _S.AGREEING, _S.UNMASKING)
_AFTER_SET_UP = (_C.READY, _C.ASKED, _C.MASKED, _C.AGREED, _C.REVEALED)

CLIENT_TRANSITIONS: Final[Mapping[tuple[ClientState, Stage | Action], ClientState]] = {
    **{(state, Stage.OPEN): _C.ADVERTISED for state in ClientState if state is not _C.STOPPED},
    (_C.ADVERTISED, Stage.ROSTER): _C.DEALT,
    (_C.DEALT, Stage.DEALS): _C.READY,
    **{(state, Stage.ABORT): _C.IDLE for state in (_C.ADVERTISED, _C.DEALT)},
    **{(state, Stage.BEGIN): _C.ASKED for state in _AFTER_SET_UP},
    (_C.ASKED, Action.MASK): _C.MASKED,
    (_C.MASKED, Stage.PROPOSE): _C.AGREED,
    (_C.MASKED, Stage.UNMASK): _C.REVEALED,
    (_C.AGREED, Stage.UNMASK): _C.REVEALED,
    **{(state, Action.DISTRUST): _C.READY for state in (_C.MASKED, _C.AGREED)},
    **{(state, Stage.SUM): _C.READY for state in _AFTER_SET_UP},
    **{(state, Action.STOP): _C.STOPPED for state in _AFTER_SET_UP},
    **{(state, Stage.ABORT): _C.READY for state in _AFTER_SET_UP},
}

SERVER_TRANSITIONS: Final[Mapping[tuple[ServerState, Stage | Action], ServerState]] = {
    (_S.IDLE, Action.OPEN): _S.ADVERTISING,
    (_S.ADVERTISING, Stage.ADVERTISE): _S.ADVERTISING,
    (_S.ADVERTISING, Action.ADVANCE): _S.DEALING,
    (_S.ADVERTISING, Action.GIVE_UP): _S.CLOSED,
    (_S.DEALING, Stage.DEAL): _S.DEALING,
    (_S.DEALING, Action.ADVANCE): _S.READY,
    (_S.DEALING, Action.AWAIT): _S.ACKNOWLEDGING,
    (_S.DEALING, Action.GIVE_UP): _S.CLOSED,
    (_S.ACKNOWLEDGING, Stage.ACKNOWLEDGE): _S.ACKNOWLEDGING,
    (_S.ACKNOWLEDGING, Action.ADVANCE): _S.READY,
    (_S.ACKNOWLEDGING, Action.GIVE_UP): _S.CLOSED,
    (_S.READY, Action.BEGIN): _S.COLLECTING,
    (_S.COLLECTING, Stage.MASKED): _S.COLLECTING,
    (_S.COLLECTING, Action.ADVANCE): _S.UNMASKING,
    (_S.COLLECTING, Action.SETTLE): _S.READY,
    (_S.COLLECTING, Action.PROPOSE): _S.AGREEING,
    (_S.COLLECTING, Action.GIVE_UP): _S.READY,
    (_S.AGREEING, Stage.AGREE): _S.AGREEING,
    (_S.AGREEING, Action.ADVANCE): _S.UNMASKING,
    (_S.AGREEING, Action.GIVE_UP): _S.READY,
    (_S.UNMASKING, Stage.REVEAL): _S.UNMASKING,
    (_S.UNMASKING, Action.ADVANCE): _S.READY,
    (_S.UNMASKING, Action.GIVE_UP): _S.READY,
    **{(state, Stage.AGREE): state for state in (_S.UNMASKING, _S.READY, _S.COLLECTING)},
    **{(state, Stage.REVEAL): state for state in (_S.READY, _S.COLLECTING, _S.AGREEING)},
    **{(state, Stage.REFUSAL): state for state in _WAITING},
}


# Typed: the two roles have states of the same name, which compare equal as text.
@lru_cache(maxsize=None, typed=True)
def stages_in_turn(state: ClientState | ServerState) -> tuple[Stage, ...]:
    """The messages that may arrive in ``state``."""
    table = CLIENT_TRANSITIONS if isinstance(state, ClientState) else SERVER_TRANSITIONS
    return tuple(event for (source, event) in table if source == state and isinstance(event, Stage))


def diagram(
    table: Mapping[tuple[ClientState, Stage | Action], ClientState]
    | Mapping[tuple[ServerState, Stage | Action], ServerState],
) -> str:
    """The automaton as a Mermaid state diagram."""
    lines = ["stateDiagram-v2"]
    for (source, event), target in table.items():
        shown = event.name if isinstance(event, Stage) else f"({event.value})"
        lines.append(f"    {source.value} --> {target.value}: {shown}")
    return "\n".join(lines)
