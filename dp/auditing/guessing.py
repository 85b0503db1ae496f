"""Guesses of which canaries were in a run, from a score of each: the higher, the more likely it was in.

Knows scores. Knows nothing of what they were made from, or of epsilon.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from dp.auditing.bound import p_value
from secagg.errors import InputError

# Of so many canaries two are guessed. Few of the noisy scores are telling: of Gaussian noise twice a canary's weight,
# half as much is told from all of it by this part best (`docs/auditing.md`).
_PART: Final = 48
# So far beyond a claim must guesses reach that are all right, to be able to speak against it.
_BEYOND: Final = 1.1


@dataclass(frozen=True, eq=False)
class Trial:
    """What became of the canaries of one run, or of several.

    Attributes:
        inside: bool (m,), the coins that were thrown.
        scores: float64 (m,).

    Raises:
        ValueError: on construction, if a canary lacks a coin or a score, or a score is not finite.
    """

    inside: npt.NDArray[np.bool_]
    scores: npt.NDArray[np.float64]

    def __post_init__(self) -> None:
        if self.inside.shape != self.scores.shape or self.inside.ndim != 1 or not np.isfinite(self.scores).all():
            raise ValueError("every canary needs one coin and one score, which is a finite number")


@dataclass(frozen=True)
class Guesses:
    """``right`` of ``made`` guesses, of ``canaries`` that there were."""

    canaries: int
    made: int
    right: int


def guesses_in_advance(canaries: int, claim: float, delta: float, confidence: float) -> int:
    """How many guesses to make, an even number. Chosen before the run, so that choosing costs no confidence.

    A part of the canaries; more where even right guesses could not refute the claim, and all if nothing could.

    Args:
        claim: the epsilon that is to be put to the test.
    """
    every = canaries // 2 * 2
    count = min(every, math.ceil(canaries / _PART / 2) * 2)
    while count < every and p_value(canaries, count, count, _BEYOND * claim, delta) >= 1 - confidence:
        count = min(every, 2 * count)
    return count


def guess(trial: Trial, count: int) -> Guesses:
    """Guess that the ``count / 2`` canaries with the highest scores were in, and as many with the lowest were not.

    Raises:
        InputError: ``bad-guesses``, if there are not so many canaries, or the number is odd.
    """
    canaries = len(trial.inside)
    if not 0 <= count <= canaries or count % 2:
        raise InputError(
            "bad-guesses",
            f"{count} guesses of {canaries} canaries are none, or not in pairs.",
            remedy="Give an even number of guesses, no more than canaries.",
        )
    half = count // 2
    order = np.argsort(trial.scores, kind="stable")
    right = np.count_nonzero(trial.inside[order[canaries - half :]]) + np.count_nonzero(~trial.inside[order[:half]])
    return Guesses(canaries, count, int(right))


def pooled(trials: Sequence[Trial]) -> Trial:
    """Several runs as one trial. Each had canaries of its own, so together they are as private as each of them."""
    return Trial(np.concatenate([trial.inside for trial in trials]), np.concatenate([trial.scores for trial in trials]))
