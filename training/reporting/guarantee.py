"""What a charter promises patients: in a paragraph that needs no mathematics, and in the terms of NIST SP 800-226.

Knows the charter's plan, how many rounds were run, and what a ledger counts of all trainings. Says what is assumed, and
what is not protected.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from dp.forecast import forecast_pld, forecast_reference
from dp.plan import PrivacyPlan
from dp.stated import exact, no_less, odds
from secagg.charter import Charter
from secagg.charter.cautions import SHARED_KEY_SCHEMES
from secagg.charter.sections import PrivacyMode
from secagg.policy.needs import honest_in_a_sum
from training.privacy_plan import privacy_plan, rounds_of_plan, rounds_stated
from training.reporting.rounds_run import Counted

_NIST_SP_800_226: Final = "https://doi.org/10.6028/NIST.SP.800-226"

_BY_THE_RELEASE: Final = "the most that any hospital can have been charged for, by the release"

# What still hides patients once a single hospital's update is known.
_LEFT: Final[Mapping[PrivacyMode, str]] = {
    "none": "no noise hides its patients then",
    "local": "the noise in it, which is that hospital's own, still hides its patients as promised",
    "distributed": "the share of noise in it is too small to hide its patients by itself",
}
# The same where it is the difference of two sums.
_LEFT_BY_SUMS: Final[Mapping[PrivacyMode, str]] = {
    **_LEFT,
    "distributed": "the noise in each of those sums still hides its patients as promised",
}


class Term(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One of the things that NIST SP 800-226 asks about, and the answer."""

    name: str
    value: str


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


class Guarantee(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is promised.

    Attributes:
        epsilon: of the rounds that were run, or of all that the charter asks for where a target can end it; None
            without differential privacy. By Renyi divergences: what every ledger enforces.
        epsilon_of_plan: of all rounds that the charter asks for: what holds if whoever ended a run before chose the
            moment by what its sums showed. None where ``epsilon`` is that, or nothing was charged.
        epsilon_pld: the same by privacy loss distributions, for comparison; None where they do not apply.
        epsilon_continuous: no bound: what continuous noise in the place of integer noise would cost.
        rounds, sums: that ``epsilon`` covers.
        plain: one paragraph.
    """

    mode: str
    epsilon: float | None
    delta: float | None
    epsilon_of_plan: float | None
    epsilon_pld: float | None
    epsilon_continuous: float | None
    rounds: int
    sums: int
    plain: str
    terms: tuple[Term, ...]
    assumptions: tuple[str, ...]
    not_protected: tuple[str, ...]
    source: str = _NIST_SP_800_226


def guarantee_of(
    charter: Charter, rounds: int, sums: int, counted: Counted = "charged", in_all: InAll | None = None
) -> Guarantee:
    """What a charter promises once so many rounds were run, so many of which gave a sum.

    Args:
        counted: where the number of rounds is from, which is said beside it.
        in_all: of a hospital that shows all its trainings.
    """
    if charter.privacy.mode == "none":
        return _none(charter, rounds, sums)
    plan = privacy_plan(charter)
    rounds, sums = rounds_stated(charter, rounds, sums)
    epsilon = plan.epsilon_after(rounds, sums)
    exchange = plan.epsilon_of_exchange(rounds, sums)
    of_plan = _epsilon_of_plan(charter, plan, rounds, sums)
    same_length = rounds == sums
    return Guarantee(
        mode=plan.mode,
        epsilon=epsilon,
        delta=plan.delta,
        epsilon_of_plan=of_plan,
        epsilon_pld=forecast_pld(plan, rounds) if same_length else None,
        epsilon_continuous=forecast_reference(plan, rounds) if same_length else None,
        rounds=rounds,
        sums=sums,
        plain="".join(
            (
                _plain(charter, epsilon, exchange, plan.delta),
                _stated(epsilon, rounds, in_all) if counted == "stated" and charter.metrics.target is None else "",
                _ended(charter, sums, of_plan),
                _together(in_all),
            )
        ),
        terms=_terms(charter, plan, epsilon, of_plan, exchange, rounds, counted),
        assumptions=_assumptions(charter, plan, rounds, sums),
        not_protected=_not_protected(charter),
    )


def _epsilon_of_plan(charter: Charter, plan: PrivacyPlan, rounds: int, sums: int) -> float | None:
    whole = rounds_of_plan(charter, rounds, sums)
    return plan.epsilon_after(*whole) if rounds and whole != (rounds, sums) else None


def _plain(charter: Charter, epsilon: float, exchange: float, delta: float) -> str:
    who, without, only = (
        (
            "each hospital adds all of it by itself, so that the promise depends on nobody else",
            "all records of any one patient at the hospital had been blank",
            " if both would be trained on or both held back for validation. If one would be trained on and the other "
            "held back, how many patients train may give away who it was, and no number limits that",
        )
        if charter.privacy.mode == "local"
        else (
            "each hospital adds a share of it, and all shares together hide a patient",
            "any one patient, with all of that patient's records at the hospital, had not been there",
            "",
        )
    )
    return (
        "Random noise is mixed into training. It limits how much more or less likely the finished model would be to "
        f"come out if {without}: {who}. Epsilon, here {no_less(epsilon, 2)}, is that limit: one patient's records "
        "being there or not changes the odds of whatever anybody concludes, from the model and from all that left the "
        f"hospitals in this training, by a factor of at most {odds(epsilon)}, except with a probability of about "
        f"{delta:g}. Somebody who knows that one of two people was there, and asks which, may learn more: those odds "
        f"change by a factor of at most {odds(exchange)} (epsilon {no_less(exchange, 2)}){only}. A smaller "
        "epsilon is better. This is a limit for the worst case, not what is expected; it does not limit what is "
        "learned about patients in general, which is what the model is for."
    )


def _stated(epsilon: float, rounds: int, in_all: InAll | None) -> str:
    told = f" Epsilon {no_less(epsilon, 2)} is for {rounds} rounds, {_BY_THE_RELEASE}."
    if in_all is None or in_all.epsilon is None or in_all.ledger is None:
        return told
    return (
        f"{told} The ledger of this hospital was charged for {in_all.ledger.charged} of them. By it, the patients of "
        f"this training have spent an epsilon of {no_less(in_all.ledger.epsilon, 2)} in all their trainings here, with "
        "what is still reserved."
    )


def _ended(charter: Charter, sums: int, of_plan: float | None) -> str:
    if of_plan is None:
        return ""
    return (
        f" This is for a training that has made {sums} of the {charter.training.rounds} sums that were planned. If "
        f"whoever ended it chose the moment by what the sums showed, epsilon is {no_less(of_plan, 2)} at most, that of "
        f"the whole plan, and the factor {odds(of_plan)}; the other figures, too, are then those of the plan."
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


def _terms(
    charter: Charter,
    plan: PrivacyPlan,
    epsilon: float,
    of_plan: float | None,
    exchange: float,
    rounds: int,
    counted: Counted,
) -> tuple[Term, ...]:
    local = plan.mode == "local"
    steps = rounds * plan.steps_per_round
    noise = (
        "Gaussian, drawn in floating point and rounded; standard deviation "
        f"{plan.noise_multiplier:g} times the clip norm"
        if local
        else f"{charter.privacy.noise}, integer, of all honest hospitals together; standard deviation "
        f"{plan.noise_multiplier:g} times the sensitivity after rounding to the grid"
    )
    counts = (
        f"counts with noise of standard deviation {plan.metric_noise_multiplier:g} patients, charged"
        if plan.metric_noise_multiplier
        else "exact, and outside the promise"
        if charter.metrics.release == "exact"
        else "not released"
    )
    return (
        Term("Unit of privacy", "one patient, with all of the patient's records at the hospital"),
        Term(
            "Epsilon",
            f"{no_less(epsilon, 4)} for {_covered(charter, rounds, counted)}; {_if_chosen(of_plan)}the charter allows "
            f"{exact(charter.privacy.budget)}",
        ),
        Term("Delta", f"{plan.delta:g}"),
        Term(
            "Neighbouring data sets",
            "in one of them the records of one patient are replaced by nothing; how many patients train is public, and "
            "the same in both (zero-out)"
            if local
            else "one has one patient more than the other (add or remove)",
        ),
        Term(
            "Exchange of one patient for another",
            f"an epsilon of {no_less(exchange, 4)} at most, at the same delta: what it costs to be told from somebody "
            "else who would have been there instead"
            + (
                ", where both would be trained on or both held back for validation. Of one who would be trained on and "
                "one who would be held back nothing is promised: how many patients train is public"
                if local
                else ", also where one of the two would be trained on and the other held back for validation"
            ),
        ),
        Term("Model of trust", _trust(charter)),
        Term(
            "Mechanism",
            "differentially private stochastic gradient descent: each patient's gradient is clipped to an L2 norm of "
            f"{plan.clip_norm:g}, summed, and noise is added",
        ),
        Term("Noise", noise),
        Term(
            "Sampling",
            f"Poisson: each patient is in a step with probability {plan.sampling_rate:g}, independently; {steps} steps",
        ),
        Term("Validation counts", counts),
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


def _covered(charter: Charter, rounds: int, counted: Counted) -> str:
    if charter.metrics.target is not None:
        return f"{rounds} rounds, all that there may be: it may end before them, by what it has released"
    if counted == "charged":
        return f"the {rounds} rounds that were charged"
    if counted == "stated":
        return f"{rounds} rounds, {_BY_THE_RELEASE}"
    return f"{rounds} rounds, as the charter plans it: in a ledger that is not shown whole there may be more"


def _if_chosen(of_plan: float | None) -> str:
    if of_plan is None:
        return ""
    return (
        f"if whoever ended the training chose the moment by what the sums showed, at most {no_less(of_plan, 4)}, the "
        "plan's; "
    )


def _interactivity(charter: Charter) -> str:
    reserved = "The cost of all is reserved before the first; a round that is repeated is charged again"
    planned = f"{charter.training.rounds} sums, by the charter"
    if charter.metrics.target is None:
        return f"{planned}. {reserved}"
    return (
        f"{planned}, or fewer: it ends once the noisy validation counts come to {charter.metrics.target:g}. Epsilon is "
        f"that of all, for a run that what was released can end is as private as one that it cannot. {reserved}"
    )


def _trust(charter: Charter) -> str:
    if charter.privacy.mode == "local":
        return "local to the hospital: it trusts neither the coordinator nor another hospital for this"
    return (
        "distributed: no curator sees records; the promise holds while the secure sum does, and all but "
        f"{charter.max_colluding} of the hospitals in a sum add their share of the noise"
    )


def _assumptions(charter: Charter, plan: PrivacyPlan, rounds: int, sums: int) -> tuple[str, ...]:
    own = (
        ("How many training patients a hospital has is public: the scale of its noise gives it away.",)
        if charter.privacy.mode == "local"
        else (
            f"At most {_hospitals(charter.max_colluding)} colluding with the coordinator, or leaving out the noise.",
            f"Each sum is over at least {_hospitals(honest_in_a_sum(charter))} beside those.",
        )
    )
    return (
        *own,
        "The column that identifies patients really tells them apart. Where there is none, each row counts as a "
        "patient.",
        "What patients have spent in other trainings comes on top of these figures: the ledger of each hospital counts "
        "all together that have differential privacy. No epsilon covers those without.",
        _at_two(plan.epsilon_at_two_hospitals(rounds, sums)),
        "A patient who is not recognised in another file has a separate budget there.",
        "The computers of the hospitals run this software, unaltered, and are not broken into.",
    )


def _at_two(epsilon: float | None) -> str:
    pays = "A patient known to two hospitals pays at both, and neither knows of the other"
    if epsilon is None:
        return f"{pays}; together that is at most the sum of both."
    return (
        f"{pays}. Both contributions are in the same sums, under the same noise, like one of twice the weight: "
        f"together that is an epsilon of up to {no_less(epsilon, 2)}, which can be more than the sum of both and is in "
        "no ledger."
    )


def _not_protected(charter: Charter) -> tuple[str, ...]:
    return (
        "The fact that a hospital takes part, when it does, and how large its messages are.",
        "How long a hospital takes to answer, which tells about how many rows it works through: a patient who has many "
        "may be noticed by that. The task's data.most_rows limits how many of each patient are used.",
        "What the model says about patients in general, and so about anybody who resembles them.",
        "Records that leave a hospital in any other way.",
        "Whether a hospital's list of patients changed between two runs, or within one: the name of a data set tells.",
        f"{_collusion(charter)}; {_LEFT[charter.privacy.mode]}.",
        *_over_several_rounds(charter),
        "The model, against a hospital that spoils it on purpose within what clipping allows.",
    )


def _collusion(charter: Charter) -> str:
    if charter.scheme in SHARED_KEY_SCHEMES:
        return "Any hospital's update, if the coordinator colludes with a single hospital: all have one key"
    many = _hospitals(charter.max_colluding)
    return f"A single hospital's update, against more than {many} colluding with the coordinator"


def _over_several_rounds(charter: Charter) -> tuple[str, ...]:
    """What a single colluder is enough for, though each round protects against so many."""
    if charter.scheme in SHARED_KEY_SCHEMES or charter.max_colluding == 0:
        return ()
    return (
        "A single hospital's update, over several rounds, against one hospital that helps the coordinator to forge a "
        f"sum, or that keeps the model from moving between two sums; {_LEFT_BY_SUMS[charter.privacy.mode]}.",
    )


def _hospitals(count: int) -> str:
    return f"{count} hospital{'' if count == 1 else 's'}"


def _none(charter: Charter, rounds: int, sums: int) -> Guarantee:
    return Guarantee(
        mode="none",
        epsilon=None,
        delta=None,
        epsilon_of_plan=None,
        epsilon_pld=None,
        epsilon_continuous=None,
        rounds=rounds,
        sums=sums,
        plain=(
            "There is no differential privacy in this run: no noise was added. Updates are hidden on their way, but "
            "the finished model itself, and each sum, may reveal things about single patients, up to whether a known "
            "person was among them. No number limits how much. Whoever has the model has to be trusted with that."
        ),
        terms=(
            Term("Unit of privacy", "none"),
            Term("Epsilon", "not limited"),
            Term("Delta", "not limited"),
            Term("Neighbouring data sets", "does not apply"),
            Term("Mechanism", "federated averaging of exact updates"),
            Term("Noise", "none"),
            Term("Sampling", "shuffled batches"),
            Term("Accountant", "none; the ledger notes each round as unprotected"),
            Term("Post-processing", "does not apply"),
        ),
        assumptions=("Whoever receives the model, or a sum, is trusted with what it reveals.",),
        not_protected=("Patients, against whoever has the model.", *_not_protected(charter)),
    )
