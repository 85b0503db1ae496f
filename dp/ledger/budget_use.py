"""How much of a data set's budget is used, and when somebody should be told.

Knows two numbers. What counts as spent is the ledger's business: what a run has reserved counts as long as it is open.
"""

from __future__ import annotations

import math
from decimal import ROUND_CEILING, Context, Decimal
from typing import Final

import msgspec

from dp.stated import exact, no_less

ALERTS: Final = (50, 80, 100)
# A float has 309 digits before the point at most, and per cent of a small budget more.
_CONTEXT: Final = Context(prec=800)


class BudgetUse(msgspec.Struct, frozen=True):
    """One data set, as far as its patients' epsilon goes.

    Attributes:
        epsilon: spent or reserved, of the patient who has spent most.
        budget: the most that the site's policy allows.
    """

    epsilon: float
    budget: float

    @property
    def percent(self) -> float:
        """Of the budget, to a tenth, rounded up; infinite where no epsilon covers what a ledger says."""
        if not math.isfinite(self.epsilon):
            return math.inf
        # As decimals: 0.07 of 1 is 7 per cent, and in floating point a little more.
        exactly = 100 * Decimal(repr(self.epsilon)) / Decimal(repr(self.budget))
        return float(exactly.quantize(Decimal("0.1"), ROUND_CEILING, _CONTEXT))

    @property
    def alert(self) -> int:
        """The highest of 50, 80 and 100 per cent that is reached; 0 below.

        To the nearest whole per cent: noise is chosen so that a run stays a little below what it may cost.
        """
        reached = round(min(100 * self.epsilon / self.budget, ALERTS[-1]))
        return max((level for level in ALERTS if reached >= level), default=0)

    @property
    def left(self) -> float:
        """Epsilon that is neither spent nor reserved, by the simple difference; composition may leave more."""
        return max(0.0, self.budget - self.epsilon)

    def told(self) -> str:
        """In words, for a warning."""
        used = f"{self.percent:g} % of the privacy budget is spent or reserved: epsilon {no_less(self.epsilon, 2)}"
        end = "; no further run fits" if self.alert == ALERTS[-1] else ""
        return f"{used} of {exact(self.budget)}{end}"
