"""How good a model was found to be. Apart from `evaluation`, for those who show it and have no use for torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Metrics:
    """What was measured; None where it is not defined (no patients, or for AUC one class) or lost in noise."""

    accuracy: float | None
    auc: float | None
    patients: int
