"""What a promise to patients rests on, and what is not protected, with differential privacy and without."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from dp.stated import no_less
from secagg.charter import Charter
from secagg.charter.cautions import SHARED_KEY_SCHEMES
from secagg.charter.sections import PrivacyMode
from secagg.policy.needs import honest_in_a_sum
from training.patient_unit import patient_unit
from training.reporting.privacy_loss import PrivacyLoss

WITHOUT_PRIVACY: Final = ("Whoever receives the model, or a sum, is trusted with what it reveals.",)

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


def assumed(charter: Charter, loss: PrivacyLoss) -> tuple[str, ...]:
    """What has to be so for the promise to hold."""
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
        patient_unit(charter).premise,
        "What patients have spent in other trainings comes on top of these figures: the ledger of each hospital counts "
        "all together that have differential privacy. No epsilon covers those without.",
        _at_two(loss.at_two_hospitals),
        "A patient who is not recognised in another file has a separate budget there.",
        "The computers of the hospitals run this software, unaltered, and are not broken into.",
    )


def _at_two(epsilon: float | None) -> str:
    pays = "A patient known to several hospitals pays at each, and none knows of the others"
    if epsilon is None:
        return f"{pays}; together that is at most the sum of all."
    return (
        f"{pays}. All contributions are in the same sums, under the same noise, like one of so many times the weight: "
        f"together that is an epsilon of up to {no_less(epsilon, 2)} for a patient known to exactly two hospitals, "
        "which can be more than the sum of both and is in no ledger. For one known to more it is higher, and grows "
        "faster than their number."
    )


def not_protected(charter: Charter) -> tuple[str, ...]:
    """What nothing in a training of this charter protects."""
    patients = ("Patients, against whoever has the model.",) if charter.privacy.mode == "none" else ()
    return (
        *patients,
        "The fact that a hospital takes part, when it does, and how large its messages are.",
        *_batch_size(charter),
        *_numbers_of_patients(charter),
        "How long a hospital takes to answer, which tells about how many rows it works through: a patient who has many "
        "may be noticed by that. The task's data.most_rows limits how many of each patient are used.",
        "What the model says about patients in general, and so about anybody who resembles them.",
        "Records that leave a hospital in any other way.",
        "Whether a hospital's list of patients changed between two runs, or within one: the name of a data set tells.",
        f"{_collusion(charter)}; {_LEFT[charter.privacy.mode]}.",
        *_over_several_rounds(charter),
        "The model, against a hospital that spoils it on purpose within what clipping allows.",
    )


def counts_in_sums(charter: Charter) -> tuple[str, ...]:
    """What sums of this charter show exactly, over the hospitals in them, to whoever sees them: "how many ..."."""
    shown = []
    if charter.training.weighting == "records":
        shown.append(
            f"how many patients were trained on, counting {charter.encoding.max_weight:,} of a hospital at most"
        )
    if charter.metrics.release == "exact":
        shown.append(
            "how many were held back for validation, and for how many of these the model was right, or, with AUC, how "
            "many of them have each class and score"
        )
    if charter.statistics.features:
        shown.append("how many rows there are, in the sum of statistics")
    return tuple(shown)


def _batch_size(charter: Charter) -> tuple[str, ...]:
    if charter.privacy.mode != "distributed":
        return ()
    return (
        "About how many patients train, at all hospitals together: the batch size, which is public, is the sampling "
        "rate times their number. If it was computed from the exact number, it tells that.",
    )


def _numbers_of_patients(charter: Charter) -> tuple[str, ...]:
    shown = counts_in_sums(charter)
    if not shown:
        return ()
    line = f"Numbers of patients. Whoever sees a sum sees, over all hospitals in it: {'; '.join(shown)}."
    if charter.training.weighting == "records" or charter.metrics.release == "exact":
        line += " If a hospital is in one sum and not in the next, its own numbers are the difference."
    return (line,)


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
