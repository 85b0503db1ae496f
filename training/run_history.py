"""What a simulation writes down of its rounds, and how good the model was after each.

Knows files. Loads nothing that trains: who watches a run reads it too.
"""

from __future__ import annotations

from dataclasses import dataclass

from secagg.errors import InputError
from secagg.files import SHARED
from training.json_lines import JsonLines
from training.metrics import Metrics
from training.round_record import RoundRecord
from training.run_folder import RunFolder


@dataclass(frozen=True)
class RoundResult:
    """One round, and how good the model is after it; ``epsilon`` is what each hospital's patients have spent."""

    record: RoundRecord
    metrics: Metrics | None
    epsilon: float | None


def history(folder: RunFolder) -> JsonLines[RoundResult]:
    """The results of the rounds of the run in ``folder``; damage is an InputError, ``damaged-history``."""
    path = folder.history

    def damaged(what: str) -> InputError:
        return InputError(
            "damaged-history",
            what,
            culprit=str(path),
            remedy="Remove it and resume: earlier rounds are then shown without how good the model was.",
        )

    return JsonLines(path, RoundResult, damaged, SHARED)
