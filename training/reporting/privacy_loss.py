"""What a training costs the patients in it, in figures.

Knows the charter's plan, how many rounds were run, and what a ledger counts of all trainings. What is said of the
figures is in `training.reporting.guarantee`.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from dp.forecast import forecast_pld, forecast_reference
from dp.plan import PrivacyPlan
from secagg.charter import Charter
from training.privacy_plan import privacy_plan, rounds_of_plan, rounds_stated
from training.reporting.rounds_run import Counted


class InLedger(msgspec.Struct, frozen=True):
    """What one hospital's own ledger says.

    Attributes:
        charged: for so many rounds of this training.
        epsilon: spent or reserved by all trainings of its patients, of the one who has spent most.
    """

    charged: int
    epsilon: float


class InAll(msgspec.Struct, frozen=True):
    """What all trainings at a hospital cost the patients of one of them together.

    Attributes:
        epsilon: at ``delta``, that one with at least what is stated of it, the others as the ledger counts them; None
            where one of them has no differential privacy.
        of_plan: the same with all rounds that its charter asks for; None where ``epsilon`` is that.
        ledger: what the ledger alone comes to; None where it is not whole or does not fit the other records.
    """

    epsilon: float | None
    delta: float
    of_plan: float | None = None
    ledger: InLedger | None = None


@dataclass(frozen=True)
class PrivacyLoss:
    """What a training with differential privacy costs one of its patients; every epsilon at the plan's delta.

    Attributes:
        rounds, sums: that ``epsilon`` covers.
        counted: where the number of rounds is from.
        epsilon: of the rounds that were run, or of all that the charter asks for where a target can end it.
        of_plan: of all rounds that the charter asks for; None where ``epsilon`` is that, or nothing was charged.
        pld: ``epsilon`` by privacy loss distributions; None where they do not apply.
        continuous: no bound: what continuous noise in the place of integer noise would cost.
        of_exchange: of one patient for another.
        at_two_hospitals: of a patient known to exactly two; None where it is at most the sum of both.
        in_all: of a hospital that shows all its trainings.
    """

    plan: PrivacyPlan
    rounds: int
    sums: int
    counted: Counted
    epsilon: float
    of_plan: float | None
    pld: float | None
    continuous: float | None
    of_exchange: float
    at_two_hospitals: float | None
    in_all: InAll | None


def privacy_loss(charter: Charter, rounds: int, sums: int, counted: Counted, in_all: InAll | None) -> PrivacyLoss:
    """That of a charter with differential privacy once so many rounds were run, so many of which gave a sum."""
    plan = privacy_plan(charter)
    rounds, sums = rounds_stated(charter, rounds, sums)
    whole = rounds_of_plan(charter, rounds, sums)
    same_length = rounds == sums
    return PrivacyLoss(
        plan=plan,
        rounds=rounds,
        sums=sums,
        counted=counted,
        epsilon=plan.epsilon_after(rounds, sums),
        of_plan=plan.epsilon_after(*whole) if rounds and whole != (rounds, sums) else None,
        pld=forecast_pld(plan, rounds) if same_length else None,
        continuous=forecast_reference(plan, rounds) if same_length else None,
        of_exchange=plan.epsilon_of_exchange(rounds, sums),
        at_two_hospitals=plan.epsilon_at_two_hospitals(rounds, sums),
        in_all=in_all,
    )
