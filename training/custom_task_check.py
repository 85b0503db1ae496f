"""What is tried of a task that is somebody's own code, before anything is signed or spent.

Knows what such code gets wrong most often: a model that is drawn anew each time, or made once and kept, and scores that
are no probabilities. Looks at made-up rows, and at a hospital's own only where the model cannot take those. Tasks that
come with the toolkit have tests of their own, and are not tried.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from secagg.errors import InputError, SecaggError
from training.model_state import ModelLayout, flatten, model_digest
from training.records import Records
from training.scaling import Scaling
from training.score_check import require_columns, require_probabilities
from training.task import Task

_OWN_ROWS: Final = 2
_SEEDED: Final = (
    "Seed its parameters from spec.model.seed, within torch.random.fork_rng(), as docs/examples/recall_task.py does."
)
_NEW: Final = "Build a new model at each call, or give a copy: copy.deepcopy(model)."


def require_same_model_again(task: Task, first: nn.Module, digest: bytes) -> None:
    """Refuse a task that builds another model each time, or gives one that is in use already.

    Args:
        first: a model that it has built before; ``digest``: of that.

    Raises:
        InputError: ``unseeded-model``, ``reused-model``.
    """
    if not _is_custom(task):
        return
    module = task.build_model()
    # Digests come later: a model that is made ready twice has other layers.
    if _trained(first) & _trained(module):
        kind = task.spec.kind
        message = (
            f"build_model of {kind} gives the same module each time, or one that shares its parameters: a second "
            "training would start from what the first has made of them."
        )
        raise InputError("reused-model", message, culprit=kind, remedy=_NEW)
    if model_digest(ModelLayout.of(module), flatten(module)) != digest:
        kind = task.spec.kind
        message = f"build_model of {kind} gives other parameters each time; all hospitals must start from one model."
        raise InputError("unseeded-model", message, culprit=kind, remedy=_SEEDED)


def require_usable_scores(task: Task, records: Records) -> None:
    """Refuse a task whose scores of the starting model are no probabilities, by rows of zeros and of ones.

    A model may have rules that such rows break, as that a sequence is not empty: if it fails, it is tried on two rows
    of ``records``, scaled unless that takes a sum.

    Raises:
        InputError: ``bad-scores``; ``model-fails``, if the model or `scores` can take neither.
    """
    if not _is_custom(task):
        return
    shape = records.features.shape[1:]
    try:
        scores = _scores(task, torch.stack([torch.zeros(shape), torch.ones(shape)]))
    except SecaggError:
        raise
    # A task's own code may raise anything.
    except Exception as fault:
        scores = _scores_of_own(task, records, fault)
    found = scores.detach().double().numpy()
    # Of a row that no patient has a model may make no number.
    finite = found[np.isfinite(found).all(axis=1)]
    if len(finite):
        require_probabilities(task.spec, finite)


def _scores_of_own(task: Task, records: Records, made_up: Exception) -> Tensor:
    few, scaling = records.take(range(min(_OWN_ROWS, len(records)))), Scaling(task.spec)
    scaled = few if scaling.needs_moments else scaling.apply(few, None)
    try:
        return _scores(task, torch.from_numpy(scaled.features))
    except SecaggError:
        raise
    except Exception as fault:
        # Of the fault on records its type alone: its words may tell of them.
        raise InputError(
            "model-fails",
            f"The model or scores of {task.spec.kind} failed on rows of records ({type(fault).__name__}) and on two "
            f"made-up rows, each of shape {records.features.shape[1:]} ({type(made_up).__name__}: {made_up}).",
            culprit=task.spec.kind,
            remedy="Correct the task's code: build_model and scores must fit the features that read gives.",
        ) from made_up


def _scores(task: Task, rows: Tensor) -> Tensor:
    # Not below: what builds a model may need gradients itself.
    model = task.build_model().eval()
    # Not inference mode: what the task's code keeps of these rows could take no part in training.
    with torch.no_grad():
        scores = task.scores(model(rows))
    require_columns(task.spec, scores, len(rows))
    return scores


def _trained(module: nn.Module) -> set[int]:
    """Where the trainable parameters are in memory."""
    trainable = (tensor for tensor in module.parameters() if tensor.requires_grad and tensor.numel())
    return {tensor.untyped_storage().data_ptr() for tensor in trainable}


def _is_custom(task: Task) -> bool:
    return ":" in task.spec.kind
