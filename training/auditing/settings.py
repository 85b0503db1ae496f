"""How hard an audit of privacy looks. Loads nothing that trains."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from secagg.errors import InputError

Mode = Literal["local", "distributed"]

# Together, of this many runs, they show half the noise: `docs/auditing.md`.
USUAL_CANARIES: Final = 3300
USUAL_RUNS: Final = 20
# Of fewer nothing is told; of more, a gradient for each, as long as there are canaries, takes minutes.
FEWEST_CANARIES: Final = 50
MOST_CANARIES: Final = 20_000


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How hard to look.

    Attributes:
        canaries: in each run.
        confidence: of each bound.

    Raises:
        InputError: ``bad-audit`` on construction.
    """

    canaries: int = USUAL_CANARIES
    runs: int = USUAL_RUNS
    confidence: float = 0.95

    def __post_init__(self) -> None:
        if not (FEWEST_CANARIES <= self.canaries <= MOST_CANARIES and self.runs >= 1 and 0 < self.confidence < 1):
            raise InputError(
                "bad-audit",
                f"{self.runs} runs of {self.canaries} canaries, at a confidence of {self.confidence:g}, are not enough "
                "for an audit.",
                remedy=f"Take {FEWEST_CANARIES} to {MOST_CANARIES} canaries in each run; for more, take more runs.",
            )
