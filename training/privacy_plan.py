"""The privacy of a charter as a plan: what it will cost, and that it costs no more than it says.

Knows the charter. Loads nothing that trains, so that a charter can be signed without.
"""

from __future__ import annotations

from dp.plan import PrivacyPlan
from dp.stated import exact, is_covered, no_less
from secagg.charter import Charter
from secagg.errors import InputError
from training.noise import noise_shares


def privacy_plan(charter: Charter) -> PrivacyPlan:
    """The one plan from which sampler, noise and accountant are made, as the charter sets it."""
    privacy, training = charter.privacy, charter.training
    return PrivacyPlan(
        mode=privacy.mode,
        noise_multiplier=privacy.noise_multiplier,
        clip_norm=privacy.clip_norm,
        sampling_rate=privacy.sampling_rate,
        delta=privacy.delta,
        rounds=training.rounds,
        steps_per_round=training.local_steps,
        metric_noise_multiplier=privacy.metric_noise_multiplier if charter.metrics.release == "noisy" else 0.0,
        metric_every=charter.metrics.every,
        shares=noise_shares(charter) if privacy.mode == "distributed" else None,
    )


def rounds_stated(charter: Charter, rounds: int, sums: int) -> tuple[int, int]:
    """For how many rounds and sums an epsilon is stated, once ``rounds`` were run and gave ``sums`` sums.

    Where a target can end a run, what was released decides how many there are: those of the plan count.
    """
    return (rounds, sums) if charter.metrics.target is None else rounds_of_plan(charter, rounds, sums)


def rounds_of_plan(charter: Charter, rounds: int, sums: int) -> tuple[int, int]:
    """How many rounds and sums there are once all sums of the charter are made.

    Of a run that is ended by what it has released it is proven only that it is as private as one that goes on to here.
    """
    missing = max(0, charter.training.rounds - sums)
    return rounds + missing, sums + missing


def require_budget(charter: Charter) -> None:
    """Refuse a charter whose rounds cost more than the budget that it states.

    Raises:
        InputError: ``budget-understated``; ``field-too-narrow``.
    """
    if charter.privacy.mode == "none":
        return
    plan = privacy_plan(charter)
    cost = plan.epsilon_after(plan.rounds)
    if not is_covered(cost, charter.privacy.budget):
        raise InputError(
            "budget-understated",
            f"The charter states a budget of epsilon {exact(charter.privacy.budget)}, but its {plan.rounds} rounds "
            f"cost {no_less(cost, 3)}.",
            culprit="privacy.budget",
            remedy="Draft it with `secagg charter new`, which chooses the noise for a budget.",
        )
