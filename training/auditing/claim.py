"""What an audit on a charter's terms claims: the epsilon of the run with canaries that it makes.

Knows the charter, how large the canaries' model is, and a batch of them. Loads nothing that trains.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Final

from dp.shares import Cohort, NoiseShares
from secagg.charter import Charter, Metrics, Privacy
from secagg.errors import InputError
from training.auditing.settings import FEWEST_CANARIES, MOST_CANARIES
from training.noise import knowing_noise, sized
from training.privacy_plan import privacy_plan

# Who is trained on beside the canaries; they share the first direction, which nobody looks at.
ORDINARY: Final = 8
# Machines compute an epsilon alike to so many places.
_PRECISION: Final = 1e-6


def direction_count(canaries: int) -> int:
    """How many parameters the model has: one for each canary, and one for everybody else."""
    return canaries + 1


def expected_batch(sampling_rate: float, hospitals: int, canaries: int) -> float:
    """How many patients are in a step's batch on average, at all hospitals."""
    return sampling_rate * (canaries / 2 + ORDINARY * hospitals)


def batch_size(sampling_rate: float, hospitals: int, canaries: int) -> int:
    """For how many patients there is room in one."""
    return max(ORDINARY, round(expected_batch(sampling_rate, hospitals, canaries)))


def is_claim_of(charter: Charter, claim: float, canaries: int) -> bool:
    """Whether an audit of ``charter``, with so many canaries in a run, claims this.

    Under ``distributed`` rounding depends a little on the number of parameters: it is not quite what the charter's own
    run costs.
    """
    if not FEWEST_CANARIES <= canaries <= MOST_CANARIES:
        return False
    try:
        shares = _shares_of(charter, canaries) if charter.privacy.mode == "distributed" else None
    except InputError:
        # There is no room for the noise of so many: such an audit cannot be made.
        return False
    plan = replace(privacy_plan(charter), metric_noise_multiplier=0.0, shares=shares)
    return math.isclose(claim, plan.epsilon_after(plan.rounds), rel_tol=_PRECISION)


def audit_shares(
    privacy: Privacy, hospitals: int, threshold: int, max_colluding: int, field_bits: int, canaries: int
) -> NoiseShares:
    """The noise of an audit, whose hospitals all mask with one another."""
    cohort = Cohort(
        hospitals=hospitals,
        threshold=threshold,
        colluding=knowing_noise(max_colluding),
        levels=privacy.noise_levels,
    )
    batch = batch_size(privacy.sampling_rate, hospitals, canaries)
    return sized(cohort, privacy, field_bits, batch, direction_count(canaries), Metrics())


def _shares_of(charter: Charter, canaries: int) -> NoiseShares:
    """That of an audit of ``charter``.

    Raises:
        InputError: ``field-too-narrow``.
    """
    shares = audit_shares(
        charter.privacy,
        len(charter.members),
        charter.threshold,
        charter.max_colluding,
        charter.encoding.field_bits,
        canaries,
    )
    shares.require_room()
    return shares
