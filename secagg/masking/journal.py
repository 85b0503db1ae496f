"""What happens at a coordinator during one epoch, as values: enough to run its side of the epoch again.

Knows messages as bytes and members as numbers. Knows nothing of what is in them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Annotated

import msgspec

from secagg.wire.envelope import Counter, Party


class _Event(msgspec.Struct, frozen=True, tag=str.lower, forbid_unknown_fields=True):
    """One thing that happened; a MessagePack map with its kind."""


class Opened(_Event, frozen=True):
    """The coordinator opened an epoch with these members."""

    epoch: Counter
    purpose: Annotated[str, msgspec.Meta(max_length=16)]
    first_round: Counter
    rounds: Counter
    invited: tuple[Party, ...]


class Begun(_Event, frozen=True):
    """It began the next round. Members ``asked`` were, or may have been, asked for shares of the same step before."""

    step: Counter
    asked: tuple[Party, ...] = ()


class Received(_Event, frozen=True):
    """A member's message came; whether it was taken follows from all before."""

    member: Party
    message: bytes


class TimedOut(_Event, frozen=True):
    """It went on without those who had not answered."""


class Lost(_Event, frozen=True):
    """It lost what it had added up in this round, which is given up as soon as it would have had a sum."""


class Sent(_Event, frozen=True):
    """It sent one message to these members."""

    members: tuple[Party, ...]
    message: bytes


class Around(_Event, frozen=True):
    """A member's message that is no part of the epoch: its state, its attestation."""

    member: Party
    message: bytes


Event = Opened | Begun | Received | TimedOut | Lost | Sent | Around
Journal = Callable[[Event], None]


def sent(outbox: Iterable[tuple[int, bytes]]) -> list[Sent]:
    """An outbox as events: neighbours that get the same message share one."""
    grouped: list[tuple[list[int], bytes]] = []
    for member, message in outbox:
        if grouped and grouped[-1][1] == message:
            grouped[-1][0].append(member)
        else:
            grouped.append(([member], message))
    return [Sent(tuple(members), message) for members, message in grouped]
