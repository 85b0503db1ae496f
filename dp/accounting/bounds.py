"""Epsilon of a list of events by all three accountants, side by side, and by the one that the ledger enforces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from dp.accounting.numerical import epsilon_pld, epsilon_prv
from dp.accounting.reference import as_gaussians
from dp.accounting.renyi import check_delta, epsilon_at, rdp_of
from dp.events import Event, GaussianEvent, merge


@dataclass(frozen=True)
class EpsilonBound:
    """Upper bounds on epsilon at one delta.

    Attributes:
        rdp: by Renyi differential privacy; always valid.
        prv: by privacy loss random variables, its numerical error included; None where it does not apply.
        pld: by privacy loss distributions, rounded towards more loss; None where it does not apply.
        gaussian_reference: no bound. Where there is integer noise: what continuous Gaussian noise of the same deviation
            would cost, by the tightest accountant that applies.
    """

    rdp: float
    prv: float | None = None
    pld: float | None = None
    gaussian_reference: float | None = None

    @property
    def tightest(self) -> float:
        """The smallest of these bounds. The ledger charges by ``rdp``, not by this."""
        return min(bound for bound in (self.rdp, self.prv, self.pld) if bound is not None)


def epsilon(events: Sequence[Event], delta: float) -> EpsilonBound:
    """What ``events`` together cost one patient, by every accountant that applies. No events cost nothing.

    PRV and PLD take seconds at worst, and apply to Gaussian events only: ``docs/accounting.md`` says why.

    Raises:
        InputError: ``bad-delta``.
    """
    check_delta(delta)
    merged = merge(events)
    gaussian = tuple(event for event in merged if isinstance(event, GaussianEvent))
    rdp = _epsilon_rdp(merged, delta)
    if len(gaussian) == len(merged):
        return EpsilonBound(rdp, epsilon_prv(gaussian, delta, rdp), epsilon_pld(gaussian, delta, rdp))
    return EpsilonBound(rdp, gaussian_reference=_reference(as_gaussians(merged), delta))


def epsilon_rdp(events: Sequence[Event], delta: float) -> float:
    """The bound by Renyi differential privacy alone: milliseconds, for use in every round.

    Raises:
        InputError: ``bad-delta``.
    """
    check_delta(delta)
    return _epsilon_rdp(merge(events), delta)


def _reference(events: tuple[GaussianEvent, ...], delta: float) -> float:
    rdp = _epsilon_rdp(events, delta)
    return EpsilonBound(rdp, epsilon_prv(events, delta, rdp), epsilon_pld(events, delta, rdp)).tightest


@lru_cache(maxsize=256)
def _epsilon_rdp(events: tuple[Event, ...], delta: float) -> float:
    return epsilon_at(rdp_of(events), delta)
