"""What several runs together cost a patient who is in one group of each.

In a run, a patient is in training or in validation; in another run it may be the other way round.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from dp.accounting.numerical import epsilon_pld
from dp.accounting.orders import ORDERS
from dp.accounting.renyi import check_delta, epsilon_at, rdp_of
from dp.events import Event, GaussianEvent, merge

Runs = Sequence[tuple[Sequence[Event], ...]]

# Each is composed by itself, which takes a second at worst.
_MOST_WAYS: Final = 16
# Machines compute the divergence of an event, and its parameters from a charter, alike to so many places.
_ALIKE: Final = 1e-6


def epsilon_of_runs(runs: Runs, delta: float) -> float:
    """What all ``runs`` together cost any patient: the bound that the ledger enforces.

    At every order the dearer group of a run counts, and the runs add up: the bound holds for each patient, whatever the
    splits were, and also where a later split was chosen by what an earlier run released.

    Raises:
        InputError: ``bad-delta``.
    """
    check_delta(delta)
    total = np.zeros(len(ORDERS))
    for groups in runs:
        total = total + np.max([rdp_of(merge(events)) for events in groups], axis=0)
    return epsilon_at(total, delta)


def costs_no_less(events: Sequence[Event], due: Sequence[Event]) -> bool:
    """Whether ``events`` cost no less than ``due``, beside whatever else: at no order is their divergence smaller.

    Two epsilons would not show it: one that is larger by itself may be the smaller one once both are composed.
    """
    found, least = rdp_of(merge(events)), rdp_of(merge(due))
    # Of a high order floating point may give no number. It is left out of an epsilon, which then is no smaller; what
    # the others say of the order below bounds it.
    unknown = np.isnan(found) | np.isnan(least)
    return bool(np.all((found >= least * (1 - _ALIKE)) | unknown))


def epsilon_of_runs_pld(runs: Runs, delta: float) -> float | None:
    """The same by privacy loss distributions, if every event is Gaussian; None where they do not apply.

    Every way in which a patient can have been in one group of each run is composed, and the dearest counts: the bound
    holds where no split was chosen by what an earlier run released.

    Raises:
        InputError: ``bad-delta``.
    """
    check_delta(delta)
    dearest = 0.0
    for events in _ways(runs):
        found = _composed(events, delta)
        if found is None:
            return None
        dearest = max(dearest, found)
    return dearest


def _ways(runs: Runs) -> list[tuple[Event, ...] | None]:
    """What the patients of every combination of groups have met, each once; ``[None]`` where they are too many."""
    ways: set[tuple[Event, ...]] = {()}
    for groups in runs:
        ways = {merge((*way, *events)) for way in ways for events in _dearer(groups)}
        if len(ways) > _MOST_WAYS:
            return [None]
    return sorted(ways, key=repr)


def _dearer(groups: tuple[Sequence[Event], ...]) -> list[Sequence[Event]]:
    """The groups that cost anything; if none does, one that does not."""
    return [events for events in groups if merge(events)] or [()]


def _composed(events: tuple[Event, ...] | None, delta: float) -> float | None:
    if events is None:
        return None
    gaussian = tuple(event for event in events if isinstance(event, GaussianEvent))
    if len(gaussian) < len(events):
        return None
    return epsilon_pld(gaussian, delta, epsilon_at(rdp_of(gaussian), delta))
