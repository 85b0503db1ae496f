"""What is tried of a task that is somebody's own code, before anything is signed or spent.

Knows what such code gets wrong most often: a model that is drawn anew each time, and scores that are no probabilities.
Reads nobody's records. Tasks that come with the toolkit have tests of their own, and are not tried.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import torch

from secagg.errors import InputError
from training.model_state import ModelLayout, flatten, model_digest
from training.score_check import require_columns, require_probabilities
from training.task import Task

_SEEDED: Final = (
    "Seed its parameters from spec.model.seed, within torch.random.fork_rng(), as docs/examples/recall_task.py does."
)


def require_same_model_again(task: Task, digest: bytes) -> None:
    """Refuse a task that builds another model each time.

    Args:
        digest: of the model that it has built before.

    Raises:
        InputError: ``unseeded-model``.
    """
    if not _is_custom(task):
        return
    module = task.build_model()
    if model_digest(ModelLayout.of(module), flatten(module)) != digest:
        kind = task.spec.kind
        message = f"build_model of {kind} gives other parameters each time; all hospitals must start from one model."
        raise InputError("unseeded-model", message, culprit=kind, remedy=_SEEDED)


def require_usable_scores(task: Task, shape: Sequence[int]) -> None:
    """Refuse a task whose scores of the starting model are no probabilities, by rows of zeros and of ones.

    Args:
        shape: of one row's features.

    Raises:
        InputError: ``bad-scores``; ``model-fails``, if the model or `scores` cannot take such rows.
    """
    if not _is_custom(task):
        return
    module = task.build_model().eval()
    rows = torch.stack([torch.zeros(tuple(shape)), torch.ones(tuple(shape))])
    with torch.inference_mode():
        try:
            scores = task.scores(module(rows))
        except (RuntimeError, ValueError, TypeError, IndexError, AttributeError) as fault:
            kind = task.spec.kind
            message = f"The model or scores of {kind} failed on rows of shape {tuple(rows.shape)}: {fault}."
            remedy = "Correct the task's code: build_model and scores must fit the features that read gives."
            raise InputError("model-fails", message, culprit=kind, remedy=remedy) from fault
    require_columns(task.spec, scores, len(rows))
    found = scores.double().numpy()
    # Of a row that no patient has a model may make no number.
    finite = found[np.isfinite(found).all(axis=1)]
    if len(finite):
        require_probabilities(task.spec, finite)


def _is_custom(task: Task) -> bool:
    return ":" in task.spec.kind
