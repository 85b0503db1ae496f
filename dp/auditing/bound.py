"""From how many guesses of who was in a run came out right: how private the run cannot have been.

Knows numbers of guesses. Knows nothing of how they were made, or of mechanisms. Source: Steinke, Nasr and Jagielski
2023, "Privacy Auditing with One (1) Training Run", Theorem 5.2, computed as in its appendix D.

Each of m canaries is in the run with probability 1/2, independently. Whoever sees what the run gives out guesses of
some of them whether they were in. If the run is (epsilon, delta)-DP towards one canary more or fewer, then the number
of right guesses is that of randomised response at most, Binomial(guesses, e^epsilon / (1 + e^epsilon)), but for a
correction by delta.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from scipy.special import expit
from scipy.stats import binom

from secagg.errors import InputError

# Beyond it no number of guesses tells one epsilon from another in 64 bits.
_LARGEST: Final = 36.0
_PRECISION: Final = 1e-6


def p_value(canaries: int, guesses: int, right: int, epsilon: float, delta: float) -> float:
    """An upper bound on the probability of ``right`` or more right guesses, if the run is (epsilon, delta)-DP.

    Args:
        canaries: m, how many there were; for each a coin decided whether it was in.
        guesses: r, how many were guessed; the rest were passed over. Fixed before the run.
        right: v, how many of them are right.

    Raises:
        InputError: ``bad-guesses``, if these numbers contradict each other.
    """
    sound = 0 <= right <= guesses <= canaries and epsilon >= 0 and 0 <= delta <= 1
    if not sound:
        raise InputError(
            "bad-guesses",
            f"{right} right of {guesses} guesses of {canaries} canaries, at ({epsilon:g}, {delta:g}), cannot be.",
            remedy="Give no more right guesses than guesses, and no more guesses than canaries.",
        )
    accuracy = float(expit(epsilon))
    as_many = float(binom.sf(right - 1, guesses, accuracy))
    return min(1.0, as_many + 2 * canaries * delta * _steepest(guesses, right, accuracy))


def epsilon_lower_bound(canaries: int, guesses: int, right: int, delta: float, confidence: float) -> float:
    """A lower bound on epsilon that holds with this confidence, if delta is right; 0 where nothing can be said.

    Guarantee: of an (epsilon, delta)-DP run, the bound is above epsilon with a probability of at most 1 - confidence.
    For it exceeds epsilon only where the test of that one epsilon rejects.

    Args:
        confidence: such as 0.95.

    Raises:
        InputError: ``bad-guesses``, ``bad-confidence``.
    """
    if not 0 < confidence < 1:
        raise InputError("bad-confidence", f"A confidence of {confidence:g} is none.", remedy="Give 0.95, for example.")
    allowed = 1 - confidence
    low, high = 0.0, _LARGEST
    if p_value(canaries, guesses, right, low, delta) >= allowed:
        return 0.0
    while high - low > _PRECISION:
        middle = (low + high) / 2
        if p_value(canaries, guesses, right, middle, delta) < allowed:
            low = middle
        else:
            high = middle
    return low


def _steepest(guesses: int, right: int, accuracy: float) -> float:
    """alpha / 2: the largest P(right > W >= right - i) / i over i, where W is Binomial(guesses, accuracy)."""
    if right == 0:
        return 0.0
    below = binom.pmf(np.arange(right - 1, -1, -1), guesses, accuracy)
    return float(np.max(np.cumsum(below) / np.arange(1, right + 1)))
