"""Drawing some of many, uniformly, with random bytes from outside.

`docs/protocol.md` describes the bytes: who records the randomness can draw again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeVar

from secagg.masking.shamir import Randomness

LOT_SIZE: Final = 16
Item = TypeVar("Item")


def draw(items: Sequence[Item], count: int, randomness: Randomness) -> list[Item]:
    """``count`` of ``items``: those with the smallest lots, 16 random bytes each; all if there are no more."""
    if count >= len(items):
        return list(items)
    lots = randomness(LOT_SIZE * len(items))
    order = sorted(range(len(items)), key=lambda index: lots[LOT_SIZE * index : LOT_SIZE * (index + 1)])
    return [items[index] for index in order[:count]]
