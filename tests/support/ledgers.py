"""What tests of the ledger write into it, and what that costs."""

from __future__ import annotations

from dp.events import GaussianEvent
from dp.ledger import Cost, Ledger, PatientList
from dp.ledger.spending import cost_epsilon
from dp.ledger.store import Budget

DELTA = 1e-5
BUDGET = Budget(epsilon=3.0, delta=DELTA)
STRANGERS = [PatientList.of([[name * 16]]) for name in (b"a", b"b")]
DATA, OTHER_DATA = (patients.data_set for patients in STRANGERS)
RUN, OTHER_RUN = "1" * 64, "2" * 64
NOW = "2026-01-01T00:00:00+00:00"
SEED = bytes(range(32))


def rounds(count: int, noise: float = 1.5) -> Cost:
    return Cost((GaussianEvent(noise, 0.1, 5 * count),), (GaussianEvent(40.0, 1.0, count),))


ROUND = rounds(1)


def spent(ledger: Ledger, data_set: str = DATA) -> float:
    return ledger.spending(data_set).epsilon(DELTA)


def cost(count: int) -> float:
    return cost_epsilon(rounds(count), DELTA)
