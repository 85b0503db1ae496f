"""Where a hospital is in a training, as it says itself and signs.

Knows numbers of sums and digests of states. Knows nothing of what is in a state.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from training.messages import Status
from training.reached import Reached

if TYPE_CHECKING:
    from training.hospital_state import HospitalState
    from training.model_state import ModelLayout


@dataclass(frozen=True)
class Position:
    """How many sums of either kind a hospital has, and the digest of what they came to."""

    statistics: int
    sums: int
    state: bytes

    @classmethod
    def of(cls, state: HospitalState, layout: ModelLayout) -> Position:
        """A hospital's own."""
        return cls(*state.reached, state.digest(layout))

    @classmethod
    def told(cls, status: Status) -> Position:
        """What another says of itself."""
        return cls(status.statistics, status.steps, status.state_digest)

    @property
    def reached(self) -> Reached:
        """The numbers alone."""
        return Reached(self.statistics, self.sums)


def can_replace(there: Position, here: Position) -> bool:
    """Whether the state at ``there`` may take the place of the one at ``here``.

    True if it is later, or as far by other sums, or one sum earlier. The last two are for a hospital whose newest sum
    reached too few others to be vouched for: that step has been, or will be, summed again.
    """
    return there != here and (there.reached >= here.reached or there.reached == here.reached.one_earlier())


def furthest(positions: Iterable[Position], most_liars: int) -> Position | None:
    """The furthest position that more members are at than may lie; None if there is none.

    One of them is honest, so that it is a true position, and can be endorsed. Of two as far, the one of more members.
    """
    counted = Counter(positions)
    backed = [position for position, members in counted.items() if members > most_liars]
    return max(backed, key=lambda position: (position.reached, counted[position]), default=None)
