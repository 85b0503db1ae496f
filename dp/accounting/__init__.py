"""How much privacy a list of events costs: epsilon at a delta, by three accountants; and the noise for an epsilon.

Neighbouring data sets differ by one patient, added or removed. Knows events, and nothing of ledgers or charters. Every
formula is in ``docs/accounting.md``, with its source and its assumptions.
"""

from dp.accounting.bounds import EpsilonBound, epsilon, epsilon_rdp
from dp.accounting.exchange import epsilon_of_exchange
from dp.accounting.runs import costs_no_less, epsilon_of_runs, epsilon_of_runs_pld
from dp.accounting.search import noise_multiplier_for, smallest_multiplier

__all__ = [
    "EpsilonBound",
    "costs_no_less",
    "epsilon",
    "epsilon_of_exchange",
    "epsilon_of_runs",
    "epsilon_of_runs_pld",
    "epsilon_rdp",
    "noise_multiplier_for",
    "smallest_multiplier",
]
