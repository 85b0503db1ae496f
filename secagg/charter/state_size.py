"""How large the state can be that one hospital hands to another, for those who must bound it before they read it.

Knows a charter. What is in it, and how it is encoded, is in `docs/protocol.md` under "Catching up".
"""

from __future__ import annotations

from typing import Final

from secagg.charter.model import Charter
from secagg.encoding.moments import moments_length

_FRAMES: Final = 2048
_MODEL_AND_OPTIMIZER: Final = 4 + 2 * 8


def largest_snapshot(charter: Charter) -> int:
    """The most bytes that the payload of a SNAPSHOT can have: it follows from the charter alone."""
    members = len(charter.members)
    # As the sum that is handed over instead of a state: what a state keeps of it is smaller.
    statistics = 8 * moments_length(charter.statistics.features)
    applied = charter.training.rounds * (4 + (members + 7) // 8 + 8 * charter.metrics.cells)
    # And such a sum lists its survivors one by one.
    return _MODEL_AND_OPTIMIZER * charter.model.parameters + statistics + applied + 5 * members + _FRAMES
