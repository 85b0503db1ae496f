"""What a hospital is opened with, and the checks that the parts fit together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from dp.row_probe import require_row_gradients
from secagg.charter import Charter, Privacy, VerifiedCharter
from secagg.charter.cautions import Caution
from secagg.errors import InputError, SecaggError
from training.custom_task_check import require_single_scores, require_usable_loss, require_usable_scores
from training.evaluation import cell_count
from training.hospital_folder import HospitalFolder
from training.hospital_state import HospitalState, load_state
from training.model_state import ModelLayout, model_digest
from training.moment_vector import MomentVector
from training.records import Records
from training.scaling import Scaling
from training.splitting import divide_by_patient, divide_stratified
from training.task import EvaluationSpec, Task, TaskSpec
from training.vector_layout import most_counts


@dataclass(frozen=True, eq=False)
class HospitalSetup:
    """What a hospital is made of.

    Attributes:
        records: as read from the site's file: not scaled, not split.
        shuffle: draws batches where there is no differential privacy; cryptographic if not given.
        passphrase: of the identity file.
        on_refusal: hears in full why this hospital refused something; the coordinator hears no more than it must.
        on_caution: hears that a sum changes nothing, or that patients are left out; the coordinator does not.
    """

    charter: VerifiedCharter
    task: Task
    records: Records
    folder: HospitalFolder
    device: torch.device
    shuffle: np.random.Generator | None = None
    passphrase: bytes | None = None
    on_refusal: Callable[[SecaggError], None] = lambda _error: None
    on_caution: Callable[[Caution], None] = lambda _caution: None


def initial_state(setup: HospitalSetup, layout: ModelLayout, initial: np.ndarray) -> HospitalState:
    """Where this hospital left off, or the model that all start from, as the task builds it here: float32, flat.

    Raises:
        InputError: ``other-model``, if that is not the charter's.
    """
    charter = setup.charter
    if model_digest(layout, initial) != charter.charter.model.digest:
        raise InputError(
            "other-model",
            "The task builds a different model here from the one that the charter names.",
            remedy="All members need the same release of the task's code and of torch.",
        )
    path = setup.folder.state(charter.digest)
    return load_state(path, charter.digest) if path.exists() else HospitalState.start(charter.digest, initial)


def require_fitting(charter: Charter, task: Task, layout: ModelLayout) -> None:
    """Refuse a charter that speaks of another task, or of one that cannot keep its promise, before anything is spent.

    Raises:
        InputError: ``other-task``, ``division-not-private``.
    """
    require_private_division(charter.privacy, task.spec)
    cells = 0 if charter.metrics.release == "none" else cell_count(task.spec)
    for culprit, said, has in (
        ("model.parameters", charter.model.parameters, layout.size),
        ("metrics.cells", charter.metrics.cells, cells),
        ("statistics.features", charter.statistics.features, Scaling(task.spec).summed_features),
    ):
        if said != has:
            raise InputError(
                "other-task",
                f"The charter says {said} as {culprit}, but its task has {has}.",
                culprit=culprit,
                remedy="Draft the charter with `secagg charter new`.",
            )


def require_private_division(privacy: Privacy, spec: TaskSpec) -> None:
    """Refuse differential privacy of records that are divided by a look at all of them.

    Its promise is about one patient more or less, who must not move others between training and validation.

    Raises:
        InputError: ``division-not-private``.
    """
    if privacy.mode != "none" and spec.evaluation.division == "stratified" and spec.evaluation.test_fraction:
        raise InputError(
            "division-not-private",
            "The task divides patients by looking at all of them: one patient more moves others from training to "
            "validation, and no epsilon holds for that.",
            culprit="evaluation.division",
            remedy="Leave evaluation.division out of the task, or keep nobody back with test_fraction = 0.",
        )


def require_trainable(
    charter: Charter, task: Task, train: Records, validation: Records | None, device: torch.device
) -> None:
    """Refuse records and a task that a run would stop at, or break its promise with, before anything is charged.

    Raises:
        InputError: ``field-too-narrow``, ``not-finite``, ``out-of-range``, ``too-small``, ``too-many-rows``,
            ``not-private-model``, ``bad-scores``, ``model-fails``, ``training-fails``, ``bad-labels``,
            ``other-columns``.
    """
    require_usable_scores(task, train)
    require_countable(charter, validation)
    require_known_classes(charter, task, train, validation)
    Scaling(task.spec).require_columns(train)
    if Scaling(task.spec).needs_moments:
        MomentVector(charter, train.feature_names).encode(train)
    if charter.privacy.mode == "none":
        require_usable_loss(task, train, charter.training, device)
    else:
        require_private_task(task, train)
        if charter.metrics.release == "noisy":
            require_single_scores(task, train)


def require_private_task(task: Task, train: Records) -> None:
    """Under differential privacy, refuse a task whose rows have no gradients of their own, before anything is spent.

    Raises:
        InputError: ``not-private-model``.
    """
    # Sums of statistics hold no noise, so that there are none under differential privacy.
    few = Scaling(task.spec).apply(train, None)
    require_row_gradients(task.build_model(), task.loss, torch.from_numpy(few.features), torch.from_numpy(few.labels))


def require_countable(charter: Charter, validation: Records | None) -> None:
    """Refuse more validation patients than an update's counts have room for, before a round is charged in vain.

    Raises:
        InputError: ``field-too-narrow``.
    """
    # Under distributed noise counts are clamped: by how much, `NoiseShares.most_counts` says.
    if validation is None or charter.metrics.release == "none" or charter.privacy.mode == "distributed":
        return
    most = most_counts(charter)
    if validation.patient_count > most:
        raise InputError(
            "field-too-narrow",
            f"This hospital keeps {validation.patient_count} patients back for validation; sums of counts of "
            f"{len(charter.members)} hospitals in {charter.encoding.field_bits} bits have room for {most} of each.",
            culprit="encoding.field_bits",
            remedy="Draft the charter with more field bits, without metrics or with a smaller test_fraction.",
        )


def require_known_classes(charter: Charter, task: Task, train: Records, validation: Records | None) -> None:
    """Refuse labels that are no classes where patients are counted by them. A loss of one's own may know others.

    Raises:
        InputError: ``bad-labels``.
    """
    classes = task.spec.data.classes
    if charter.metrics.release == "none" or validation is None:
        return
    if max(train.labels.max(), validation.labels.max()) >= classes:
        raise InputError(
            "bad-labels",
            f"{train.source} has labels outside 0 to {classes - 1}, so that its counts for the metrics would be wrong.",
            culprit=train.source,
            remedy="Number the classes from 0, set data.classes in the task, or release no metrics.",
        )


def split_patients(records: Records, task: Task) -> tuple[Records, Records | None]:
    """The patients a hospital trains on, and those it keeps back for validation, if any, as the task says.

    Of each at most as many rows as the task says. All rows decide on which side a patient is, and with which label.
    """
    train, validation = _divided(records, task.spec.evaluation)
    most = task.spec.data.most_rows
    return train.limit_rows(most), validation.limit_rows(most) if validation else None


def _divided(records: Records, evaluation: EvaluationSpec) -> tuple[Records, Records | None]:
    if evaluation.test_fraction == 0:
        return records, None
    match evaluation.division:
        case "by-patient":
            return divide_by_patient(records, evaluation.test_fraction, evaluation.test_seed)
        case "stratified":
            return divide_stratified(records, evaluation.train_fraction, evaluation.test_seed)
