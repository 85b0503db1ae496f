"""Settings of a simulation that do not do what they seem to: told and not refused, for each may be meant so.

Knows a charter, the choices that it was drafted from, and numbers of patients.
"""

from __future__ import annotations

from typing import Final

from secagg.charter import Charter
from secagg.charter.cautions import Caution
from training.choices import USUAL_DROPOUT, CharterChoices
from training.tasks.spec import EvaluationSpec

# Poisson batches differ in size by themselves; a number that was meant is not so far off.
_OFF_BY: Final = 2


def unused_dropout(charter: Charter, choices: CharterChoices) -> tuple[Caution, ...]:
    """What is to be told of a share of hospitals that drop out where nothing was chosen by it."""
    if choices.dropout == USUAL_DROPOUT or charter.graph.degree or charter.privacy.noise_levels:
        return ()
    return (
        Caution(
            "unused-dropout",
            f"--dropout {choices.dropout:g} changes nothing here, and lets nobody drop out: by it neighbours are "
            "chosen above 100 hospitals, and surplus noise that is removed under --dp distributed.",
            "Leave it out, and let hospitals drop out by --drop.",
        ),
    )


def another_batch(charter: Charter, patients: int) -> tuple[Caution, ...]:
    """What is to be told where a step's sum is divided by another number of patients than are in it.

    Args:
        patients: in training, at all hospitals together.
    """
    if charter.privacy.mode != "distributed":
        return ()
    expected, divisor = charter.privacy.sampling_rate * patients, charter.training.batch_size
    if expected / _OFF_BY <= divisor <= max(1, expected * _OFF_BY):
        return ()
    return (
        Caution(
            "another-batch",
            f"Each step's sum is divided by {divisor} patients, and about {expected:.0f} of {patients} are in it: the "
            f"model moves {expected / divisor:.2g} times as far as the learning rate says.",
            "Leave out --batch-size: what is expected is then computed.",
        ),
    )


def unused_patients(charter: Charter, evaluation: EvaluationSpec) -> tuple[Caution, ...]:
    """What is to be told where records are given to test on, and hospitals keep patients back that nobody uses."""
    if charter.metrics.release != "none" or not evaluation.test_fraction:
        return ()
    return (
        Caution(
            "unused-patients",
            f"Each hospital keeps back {evaluation.test_fraction:.0%} of its patients, who are neither trained on nor "
            "tested on: the model is tested on --test.",
            "Set evaluation.test_fraction = 0 in the task to train on them too.",
        ),
    )
