"""What a charter promises patients, in a paragraph that needs no mathematics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from dp.stated import no_less, odds
from secagg.charter import Charter
from secagg.charter.sections import PrivacyMode
from training.patient_unit import patient_unit
from training.reporting.privacy_loss import InAll, PrivacyLoss

BY_THE_RELEASE: Final = "the most that any hospital can have been charged for, by the release"

WITHOUT_PRIVACY: Final = (
    "There is no differential privacy in this run: no noise was added. Updates are hidden on their way, but the "
    "finished model itself, and each sum, may reveal things about single patients, up to whether a known person was "
    "among them. No number limits how much. Whoever has the model has to be trusted with that."
)

_IF: Final[Mapping[PrivacyMode, str]] = {"local": "had been blank", "distributed": "had not been there"}
_WHO_ADDS_NOISE: Final[Mapping[PrivacyMode, str]] = {
    "local": "each hospital adds all of it by itself, so that the promise depends on nobody else",
    "distributed": "each hospital adds a share of it, and all shares together hide a patient",
}
# Which exchanges of one patient for another are promised anything.
_EXCHANGES: Final[Mapping[PrivacyMode, str]] = {
    "local": " if both would be trained on or both held back for validation. If one would be trained on and the other "
    "held back, how many patients train may give away who it was, and no number limits that",
    "distributed": "",
}


def paragraph(charter: Charter, loss: PrivacyLoss) -> str:
    """The promise, what rounds it is for, and what other trainings add to it."""
    return _promise(charter, loss) + _stated(charter, loss) + _ended(charter, loss) + _together(loss.in_all)


def _promise(charter: Charter, loss: PrivacyLoss) -> str:
    mode, epsilon, exchange = loss.plan.mode, loss.epsilon, loss.of_exchange
    unit = patient_unit(charter)
    return (
        "Random noise is mixed into training. It limits how much more or less likely the finished model would be to "
        f"come out if any {unit.whole} {_IF[mode]}: {_WHO_ADDS_NOISE[mode]}. A patient here is {unit.told}. Epsilon, "
        f"here {no_less(epsilon, 2)}, is that limit: one patient's records being there or not changes the odds of "
        "whatever anybody concludes, from the model and from all that left the hospitals in this training, by a factor "
        f"of at most {odds(epsilon)}, except with a probability of about {loss.plan.delta:g}. Somebody who knows that "
        "one of two patients was there, and asks which, may learn more: those odds change by a factor of at most "
        f"{odds(exchange)} (epsilon {no_less(exchange, 2)}){_EXCHANGES[mode]}. A smaller epsilon is better. This is a "
        "limit for the worst case, not what is expected; it does not limit what is learned about patients in general, "
        "which is what the model is for."
    )


def _stated(charter: Charter, loss: PrivacyLoss) -> str:
    if loss.counted != "stated" or charter.metrics.target is not None:
        return ""
    told = f" Epsilon {no_less(loss.epsilon, 2)} is for {loss.rounds} rounds, {BY_THE_RELEASE}."
    if loss.in_all is None or loss.in_all.epsilon is None or loss.in_all.ledger is None:
        return told
    ledger = loss.in_all.ledger
    return (
        f"{told} The ledger of this hospital was charged for {ledger.charged} of them. By it, the patients of this "
        f"training have spent an epsilon of {no_less(ledger.epsilon, 2)} in all their trainings here, with what is "
        "still reserved."
    )


def _ended(charter: Charter, loss: PrivacyLoss) -> str:
    if loss.of_plan is None:
        return ""
    return (
        f" This is for a training that has made {loss.sums} of the {charter.training.rounds} sums that were planned. "
        f"If whoever ended it chose the moment by what the sums showed, epsilon is {no_less(loss.of_plan, 2)} at most, "
        f"that of the whole plan, and the factor {odds(loss.of_plan)}; the other figures, too, are then those of the "
        "plan."
    )


def _together(in_all: InAll | None) -> str:
    if in_all is None:
        return ""
    on_top = " What the same patients spend in other trainings comes on top."
    if in_all.epsilon is None:
        return (
            f"{on_top} This hospital has also trained without differential privacy on their records, or on some that "
            "may be theirs: no epsilon covers all of their trainings together."
        )
    chosen = (
        ""
        if in_all.of_plan is None
        else f" If whoever ended this training chose the moment by what the sums showed, it is "
        f"{no_less(in_all.of_plan, 2)}, and the factor {odds(in_all.of_plan)}."
    )
    return (
        f"{on_top} For the patients of this training, over all trainings at this hospital that they were or may have "
        f"been in, epsilon is {no_less(in_all.epsilon, 2)}, a factor of {odds(in_all.epsilon)}, except with a "
        f"probability of about {in_all.delta:g}. That is this training with no less than is said here of it, and the "
        f"others as the hospital's ledger counts what was charged or is reserved.{chosen}"
    )
