"""What a charter promises patients, in the terms of NIST SP 800-226."""

from __future__ import annotations

from typing import Final

import msgspec

from dp.stated import exact, no_less
from secagg.charter import Charter
from training.patient_unit import patient_unit
from training.reporting.plain_language import BY_THE_RELEASE
from training.reporting.privacy_loss import PrivacyLoss

NIST_SP_800_226: Final = "https://doi.org/10.6028/NIST.SP.800-226"


class Term(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One of the things that NIST SP 800-226 asks about, and the answer."""

    name: str
    value: str


WITHOUT_PRIVACY: Final = (
    Term("Unit of privacy", "none"),
    Term("Epsilon", "not limited"),
    Term("Delta", "not limited"),
    Term("Neighbouring data sets", "does not apply"),
    Term("Mechanism", "federated averaging of exact updates"),
    Term("Noise", "none"),
    Term("Sampling", "shuffled batches"),
    Term("Accountant", "none; the ledger notes each round as unprotected"),
    Term("Post-processing", "does not apply"),
)


def terms(charter: Charter, loss: PrivacyLoss) -> tuple[Term, ...]:
    """All of them: what is promised, how it is brought about, and how it is accounted for."""
    unit = patient_unit(charter)
    return (
        Term("Unit of privacy", unit.whole),
        Term("A patient is", unit.told),
        Term("Epsilon", _epsilon(charter, loss)),
        Term("Delta", f"{loss.plan.delta:g}"),
        Term("Neighbouring data sets", _neighbours(charter)),
        Term("Exchange of one patient for another", _exchange(charter, loss)),
        Term("Model of trust", _trust(charter)),
        Term(
            "Mechanism",
            "differentially private stochastic gradient descent: each patient's gradient is clipped to an L2 norm of "
            f"{loss.plan.clip_norm:g}, summed, and noise is added",
        ),
        Term("Noise", _noise(charter, loss)),
        Term("Sampling", _sampling(loss)),
        Term("Validation counts", _validation_counts(charter, loss)),
        Term(
            "Accountant",
            "Renyi differential privacy, composed over all steps, rounds, charters and years; converted as in Balle et "
            "al. 2020, theorem 21. The ledger of each hospital enforces it",
        ),
        Term(
            "Post-processing",
            "everything computed from what was released with noise costs nothing more: sums, the steps of the "
            "optimizer, the model, and whatever is done with it later",
        ),
        Term("Interactivity", _interactivity(charter)),
        Term("Randomness", "AES-128 in counter mode (NIST SP 800-38A), keyed by the operating system"),
    )


def _epsilon(charter: Charter, loss: PrivacyLoss) -> str:
    chosen = (
        ""
        if loss.of_plan is None
        else "if whoever ended the training chose the moment by what the sums showed, at most "
        f"{no_less(loss.of_plan, 4)}, the plan's; "
    )
    return (
        f"{no_less(loss.epsilon, 4)} for {_covered(charter, loss)}; {chosen}the charter allows "
        f"{exact(charter.privacy.budget)}"
    )


def _covered(charter: Charter, loss: PrivacyLoss) -> str:
    if charter.metrics.target is not None:
        return f"{loss.rounds} rounds, all that there may be: it may end before them, by what it has released"
    match loss.counted:
        case "charged":
            return f"the {loss.rounds} rounds that were charged"
        case "stated":
            return f"{loss.rounds} rounds, {BY_THE_RELEASE}"
        case "planned":
            return (
                f"{loss.rounds} rounds, as the charter plans it: in a ledger that is not shown whole there may be more"
            )


def _neighbours(charter: Charter) -> str:
    if charter.privacy.mode == "local":
        return (
            "in one of them the records of one patient are replaced by nothing; how many patients train is public, and "
            "the same in both (zero-out)"
        )
    return (
        "one has one patient more than the other (add or remove); the batch size, which is public, is the same for both"
    )


def _exchange(charter: Charter, loss: PrivacyLoss) -> str:
    where = (
        ", where both would be trained on or both held back for validation. Of one who would be trained on and one who "
        "would be held back nothing is promised: how many patients train is public"
        if charter.privacy.mode == "local"
        else ", also where one of the two would be trained on and the other held back for validation, unless the batch "
        "size, which is public, was computed from the exact number of training patients: then it tells these two apart"
    )
    return (
        f"an epsilon of {no_less(loss.of_exchange, 4)} at most, at the same delta: what it costs to be told from "
        f"somebody else who would have been there instead{where}"
    )


def _trust(charter: Charter) -> str:
    if charter.privacy.mode == "local":
        return "local to the hospital: it trusts neither the coordinator nor another hospital for this"
    return (
        "distributed: no curator sees records; the promise holds while the secure sum does, and all but "
        f"{charter.max_colluding} of the hospitals in a sum add their share of the noise"
    )


def _noise(charter: Charter, loss: PrivacyLoss) -> str:
    multiplier = f"{loss.plan.noise_multiplier:g}"
    if charter.privacy.mode == "local":
        return f"Gaussian, drawn in floating point and rounded; standard deviation {multiplier} times the clip norm"
    return (
        f"{charter.privacy.noise}, integer, of all honest hospitals together; standard deviation {multiplier} times "
        "the sensitivity after rounding to the grid"
    )


def _sampling(loss: PrivacyLoss) -> str:
    steps = loss.rounds * loss.plan.steps_per_round
    return (
        f"Poisson: each patient is in a step with probability {loss.plan.sampling_rate:g}, independently; {steps} steps"
    )


def _validation_counts(charter: Charter, loss: PrivacyLoss) -> str:
    if loss.plan.metric_noise_multiplier:
        return f"counts with noise of standard deviation {loss.plan.metric_noise_multiplier:g} patients, charged"
    return "exact, and outside the promise" if charter.metrics.release == "exact" else "not released"


def _interactivity(charter: Charter) -> str:
    reserved = "The cost of all is reserved before the first; a round that is repeated is charged again"
    planned = f"{charter.training.rounds} sums, by the charter"
    if charter.metrics.target is None:
        return f"{planned}. {reserved}"
    return (
        f"{planned}, or fewer: it ends once the noisy validation counts come to {charter.metrics.target:g}. Epsilon is "
        f"that of all, for a run that what was released can end is as private as one that it cannot. {reserved}"
    )
