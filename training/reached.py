"""How far a training has come: numbers of sums, which hospitals and the coordinator compare.

Knows numbers. Knows nothing of what was summed.
"""

from __future__ import annotations

from typing import NamedTuple

from secagg.masking import Purpose


class Reached(NamedTuple):
    """How many sums of feature statistics there are, and how many of training: what is later is larger."""

    statistics: int = 0
    sums: int = 0

    def of(self, purpose: Purpose) -> int:
        """How many sums of a purpose."""
        match purpose:
            case Purpose.STATISTICS:
                return self.statistics
            case Purpose.TRAINING:
                return self.sums

    def at_least(self, other: Reached) -> Reached:
        """The larger number of each: a folder that was lost and has later sums may lack those of the statistics."""
        return Reached(max(self.statistics, other.statistics), max(self.sums, other.sums))

    def after(self, purpose: Purpose) -> Reached:
        """What is reached with one more sum of a purpose."""
        match purpose:
            case Purpose.STATISTICS:
                return self._replace(statistics=self.statistics + 1)
            case Purpose.TRAINING:
                return self._replace(sums=self.sums + 1)

    def one_earlier(self) -> Reached:
        """What had been reached one sum earlier. Statistics come before any training."""
        return Reached(self.statistics, self.sums - 1) if self.sums else Reached(self.statistics - 1)
