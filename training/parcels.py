"""Many sums for many hospitals, in outboxes that are never too large to send: nobody holds them all.

Knows names of messages and how large they are. Knows nothing of what they mean.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from training.engines.base import Outbox

LARGEST_PARCEL: Final = 256 * 1024 * 1024
"""Bytes of one outbox, unless one message alone is larger."""
MOST_MESSAGES: Final = 1000
"""Messages of one outbox: an engine may have to tell their sizes in a header."""


def parcels(
    missed: Mapping[int, Sequence[str]],
    read: Callable[[str], bytes],
    largest: int = LARGEST_PARCEL,
    most: int = MOST_MESSAGES,
) -> Iterator[Outbox]:
    """Outboxes that give each member its messages, in their order; none where nothing is missed.

    Args:
        missed: names of messages, by member.
        read: gives a message by its name.
        largest: bytes of one outbox, unless one message alone is larger.
        most: messages of one outbox.
    """
    outbox: list[tuple[int, bytes]] = []
    size = 0
    for member, names in missed.items():
        for name in names:
            message = read(name)
            if outbox and (size + len(message) > largest or len(outbox) == most):
                yield outbox
                outbox, size = [], 0
            outbox.append((member, message))
            size += len(message)
    if outbox:
        yield outbox
