"""What a run will cost before it starts, after any number of its rounds.

Knows a plan's events. Knows nothing of charters, or of how a plan is made.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from dp.accounting import EpsilonBound, epsilon, epsilon_of_runs_pld
from dp.accounting.reference import as_gaussians
from dp.events import Event, IntegerEvent, merge
from dp.plan import PrivacyPlan

_QUARTERS = 4


def quarters(rounds: int) -> tuple[int, ...]:
    """The rounds after a quarter, a half, three quarters and all of ``rounds``, rounded up, each once."""
    return tuple(sorted({-(-rounds * part // _QUARTERS) for part in range(1, _QUARTERS + 1)}))


def forecast_pld(plan: PrivacyPlan, rounds: int) -> float | None:
    """What ``rounds`` rounds cost any patient, by privacy loss distributions; None where they do not apply."""
    return epsilon_of_runs_pld([_groups(plan, rounds)], plan.delta)


def forecast_reference(plan: PrivacyPlan, rounds: int) -> float | None:
    """No bound: what continuous noise in place of integer noise would cost; None if none is integer."""
    groups = _groups(plan, rounds)
    if not any(isinstance(event, IntegerEvent) for events in groups for event in events):
        return None
    return epsilon_of_runs_pld([tuple(as_gaussians(events) for events in groups)], plan.delta)


def forecast(plan: PrivacyPlan, rounds: int) -> EpsilonBound:
    """What ``rounds`` rounds cost any patient, by every accountant that applies; ``rdp`` is what the ledger enforces.

    A patient is in training or in validation, never in both, so that the dearer counts.
    """
    bounds = [epsilon(events, plan.delta) for events in _groups(plan, rounds) if merge(events)]
    reference = None
    if any(bound.gaussian_reference is not None for bound in bounds):
        reference = _dearest(
            bound.tightest if bound.gaussian_reference is None else bound.gaussian_reference for bound in bounds
        )
    return EpsilonBound(
        plan.epsilon_after(rounds),
        _dearest(bound.prv for bound in bounds),
        _dearest(bound.pld for bound in bounds),
        reference,
    )


def _groups(plan: PrivacyPlan, rounds: int) -> tuple[Sequence[Event], Sequence[Event]]:
    """What ``rounds`` rounds that all have a sum cost a training patient, and what they cost a validation patient."""
    return plan.training_events(rounds), plan.metric_events(plan.releases(rounds))


def _dearest(bounds: Iterable[float | None]) -> float | None:
    """The largest; None if one of them is not known."""
    dearest = 0.0
    for bound in bounds:
        if bound is None:
            return None
        dearest = max(dearest, bound)
    return dearest
