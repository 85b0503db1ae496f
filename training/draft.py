"""Drafting a charter: from a task and a few choices to everything that the members sign.

Knows which charter fields follow from others: the model's digest and size from the task, the noise from epsilon, the
threshold from the number of members, the parameters of ciphertexts from that and the model's size. Signs nothing.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from secagg.charter import (
    Charter,
    Homomorphic,
    Member,
    Metrics,
    Model,
    Statistics,
    TaskChoice,
    Training,
)
from secagg.charter.names import check_name
from secagg.charter.sections import ENCRYPTED_SCHEMES
from secagg.charter.thresholds import smallest_threshold, surely_summed
from secagg.errors import InputError
from secagg.homomorphic.parameters import fitting_parameters
from training.charter_check import checked_charter
from training.choices import FITTING_PARAMETERS, CharterChoices
from training.custom_task_check import require_same_model_again
from training.dropout import chosen_graph
from training.evaluation import cell_count
from training.hospital_setup import require_private_division
from training.model_state import ModelLayout, flatten, model_digest
from training.own_code_faults import in_full
from training.prepared_task import PreparedTask
from training.privacy_draft import Sizes, drafted_privacy
from training.scaling import Scaling
from training.task import TaskSpec, build_task, load_custom_task
from training.tasks.spec import USUAL_BINS

# Each bin has noise of its own, and most hold few patients. Of 64 the AUC has twice the standard deviation that it has
# of 16; below 16, scores that lie close together fall into too few bins to be told apart.
_NOISY_BINS: Final = 16


def draft_charter(choices: CharterChoices, members: Sequence[Member], spec: TaskSpec) -> Charter:
    """The charter of these choices, unsigned, as everybody will read it.

    Raises:
        InputError: if the choices contradict each other or are out of range, or the task cannot be built.
    """
    check_name(choices.name, "the consortium")
    for member in members:
        check_name(member.name, "a hospital")
    _require_distinct([member.name for member in members])
    spec = _with_bins(spec, _NOISY_BINS if choices.metrics == "noisy" else USUAL_BINS)
    task = make_task(spec)
    # Whoever drafts is told the fault in full: nothing has read records into this task.
    with in_full():
        module = task.build_model()
    layout = ModelLayout.of(module)
    digest = model_digest(layout, flatten(module))
    require_same_model_again(task, module, digest)
    threshold = choices.threshold or smallest_threshold(len(members), choices.max_colluding)
    training, metrics = _training(choices), _metrics(choices, spec)
    graph = chosen_graph(choices.scheme, len(members), choices.max_colluding, choices.dropout)
    fewest = surely_summed(len(members), threshold, choices.max_colluding, graph)
    sizes = Sizes(len(members), fewest, layout.size, training, metrics)
    drafted = drafted_privacy(choices, sizes)
    require_private_division(drafted.privacy, spec)
    charter = Charter(
        name=choices.name,
        nonce=secrets.token_bytes(16),
        members=tuple(members),
        threshold=threshold,
        max_colluding=choices.max_colluding,
        scheme=choices.scheme,
        graph=graph,
        homomorphic=_homomorphic(choices, layout.size, len(members)),
        model=Model(digest=digest, parameters=layout.size),
        task=task_choice(spec),
        training=training,
        encoding=drafted.encoding,
        statistics=Statistics(features=Scaling(spec).summed_features),
        metrics=metrics,
        privacy=drafted.privacy,
        epoch_rounds=min(choices.epoch_rounds, choices.training.rounds),
    )
    return checked_charter(charter)


def _require_distinct(names: Sequence[str]) -> None:
    """Refuse names that differ in capitals only. Of drafts alone: a charter that was signed with such names is valid.

    Raises:
        InputError: ``duplicate-member``.
    """
    known: dict[str, str] = {}
    for name in names:
        other = known.setdefault(name.casefold(), name)
        if other != name:
            raise InputError(
                "duplicate-member",
                f"The names {other} and {name} differ in capitals only: people mistake one for the other, and on some "
                "disks files that are named after both are one.",
                culprit=name,
                remedy="Give one of them another name.",
            )


def _homomorphic(choices: CharterChoices, parameters: int, members: int) -> Homomorphic:
    if choices.homomorphic == FITTING_PARAMETERS:
        encrypted = choices.scheme in ENCRYPTED_SCHEMES
        return Homomorphic(parameters=fitting_parameters(parameters, members)) if encrypted else Homomorphic()
    if choices.scheme not in ENCRYPTED_SCHEMES:
        raise InputError(
            "nothing-encrypted",
            f"Parameters of homomorphic encryption are given, {choices.homomorphic}, but the scheme {choices.scheme} "
            "encrypts nothing.",
            remedy="Choose the scheme double-lock, or leave the parameters out.",
        )
    return Homomorphic(parameters=choices.homomorphic)


def task_of(charter: Charter) -> PreparedTask:
    """The task that a charter names; its code runs only if it is built in or the site's policy has listed it.

    Raises:
        InputError: if the task cannot be built.
    """
    return make_task(task_spec(charter))


def task_spec(charter: Charter) -> TaskSpec:
    """What a charter says of its task.

    Raises:
        InputError: ``bad-task``.
    """
    return TaskSpec.from_settings(charter.task.kind, charter.task.settings_json())


def task_choice(spec: TaskSpec) -> TaskChoice:
    """A specification as a charter holds it."""
    return TaskChoice(kind=spec.kind, settings=_without_none(msgspec.json.decode(spec.settings_json())))


def make_task(spec: TaskSpec) -> PreparedTask:
    """A built-in task, or the custom one that the kind names as ``module:function``; its model ready for training."""
    return PreparedTask(load_custom_task(spec) if ":" in spec.kind else build_task(spec))


def _training(choices: CharterChoices) -> Training:
    training = choices.training
    match choices.privacy:
        case "none":
            return training
        case "local":
            return msgspec.structs.replace(training, weighting="uniform")
        case "distributed":
            if choices.expected_batch < 1:
                raise InputError(
                    "batch-unknown",
                    "How many patients are expected in a step was not given, and is not known before all hospitals "
                    "have said it.",
                    culprit="batch size",
                    remedy="Give --batch-size: the sampling rate times the training patients of all hospitals, to two "
                    "digits. It is public: agree on a round number.",
                )
            # Every sum is a step; a hospital takes none of its own.
            return msgspec.structs.replace(
                training,
                weighting="uniform",
                batch_size=choices.expected_batch,
                local_steps=1,
            )


def _with_bins(spec: TaskSpec, bins: int) -> TaskSpec:
    """The task with so many bins, unless it says how many itself."""
    if spec.evaluation.bins is not None:
        return spec
    return msgspec.structs.replace(spec, evaluation=msgspec.structs.replace(spec.evaluation, bins=bins))


def _metrics(choices: CharterChoices, spec: TaskSpec) -> Metrics:
    if choices.metrics != "none" and spec.evaluation.test_fraction == 0:
        raise InputError(
            "metrics-without-validation",
            "Metrics are to be released, but the task holds no patients back for validation.",
            remedy="Set evaluation.test_fraction in the task, or release no metrics.",
        )
    cells = 0 if choices.metrics == "none" else cell_count(spec)
    return Metrics(release=choices.metrics, cells=cells, every=choices.metrics_every, target=choices.target)


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_none(item) for item in value]
    return value
