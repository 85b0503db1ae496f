"""Empirical audits: what can be said of epsilon from what a mechanism gave out, without believing how it was made."""

from dp.auditing.bound import epsilon_lower_bound, p_value
from dp.auditing.guessing import Guesses, Trial, guess, guesses_in_advance, pooled

__all__ = ["Guesses", "Trial", "epsilon_lower_bound", "guess", "guesses_in_advance", "p_value", "pooled"]
