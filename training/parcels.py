"""Many sums for many hospitals, a bounded number of bytes at a time: nobody holds them all, none is too large to send.

Knows names of messages and how large they are. Knows nothing of what they mean.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from training.engines.base import Outbox

LARGEST_PARCEL: Final = 256 * 1024 * 1024
"""Bytes of one outbox, unless one message alone is larger."""


def parcels(
    missed: Mapping[int, Sequence[str]], read: Callable[[str], bytes], largest: int = LARGEST_PARCEL
) -> Iterator[Outbox]:
    """Outboxes that give each member its messages, in their order; none where nothing is missed.

    Args:
        missed: names of messages, by member.
        read: gives a message by its name.
        largest: bytes of one outbox, unless one message alone is larger.
    """
    outbox: list[tuple[int, bytes]] = []
    size = 0
    for member, names in missed.items():
        for name in names:
            message = read(name)
            if outbox and size + len(message) > largest:
                yield outbox
                outbox, size = [], 0
            outbox.append((member, message))
            size += len(message)
    if outbox:
        yield outbox
