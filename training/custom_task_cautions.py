"""What a simulation tells of a task that is somebody's own code: what may be meant so, and mostly is a mistake.

Knows what such code gets wrong without a fault. Refuses nothing, and looks at records that the caller may see.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from torch import Tensor

from secagg.charter.cautions import Caution
from training.records import Indices, Records
from training.scaling import Scaling
from training.task import Task

_ROWS: Final = 8
# Of the loss: float32 sums in another order differ by a millionth.
_TOLERANCE: Final = 1e-3


def own_code(task: Task, hospitals: Sequence[Records]) -> tuple[Caution, ...]:
    """What is to be told of labels that are not classes, scores that differ each time, and a loss that is not a mean.

    Args:
        hospitals: the records of each, not scaled.
    """
    if not task.spec.is_custom:
        return ()
    # Of one label alone a loss may be a mean by chance.
    most_labels = max(hospitals, key=lambda records: len(np.unique(records.labels)))
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        return (*_labels(task, hospitals), *_tried(task, most_labels))


def _labels(task: Task, hospitals: Sequence[Records]) -> tuple[Caution, ...]:
    classes = task.spec.data.classes
    largest = max(hospitals, key=lambda records: int(records.labels.max()))
    if largest.labels.max() < classes:
        return ()
    return (
        Caution(
            "labels-beyond-classes",
            f"{largest.source} has labels up to {largest.labels.max()}, and the task's classes are 0 to {classes - 1}: "
            "accuracy and AUC mean nothing here.",
            "Number the classes from 0, or set data.classes in the task. If labels stand for something else, measure "
            "the model yourself.",
        ),
    )


def _tried(task: Task, records: Records) -> tuple[Caution, ...]:
    few = Scaling(task.spec).alone(records.take(_of_all_labels(records)))
    features, labels = torch.from_numpy(few.features), torch.from_numpy(few.labels)
    model = task.build_model().eval()

    def outputs(rows: slice) -> Tensor:
        # A copy: a model may change what it is given.
        given: Tensor = model(features[rows].clone())
        return given

    every = slice(len(few))
    try:
        if not torch.allclose(task.scores(outputs(every)), task.scores(outputs(every)), equal_nan=True):
            return (_drawn_scores(task),)
        together, again = (float(task.loss(outputs(every), labels)) for _ in range(2))
        # Of one that draws, or counts how often it is called, a difference says nothing.
        if together != again:
            return ()
        rows = [slice(row, row + 1) for row in range(len(few))]
        alone = float(np.mean([float(task.loss(outputs(row), labels[row])) for row in rows]))
    # A loss that compares rows may take no single one.
    except Exception:
        return ()
    return () if np.isclose(together, alone, rtol=_TOLERANCE, equal_nan=True) else (_no_mean(task, together, alone),)


def _of_all_labels(records: Records) -> Indices:
    """A few rows, those first that are the first of their label: int64, shape (n,)."""
    _, first = np.unique(records.labels, return_index=True)
    return np.concatenate([first, np.setdiff1d(np.arange(len(records)), first)])[:_ROWS]


def _drawn_scores(task: Task) -> Caution:
    return Caution(
        "random-scores",
        f"The model of {task.spec.kind} gives the same rows other scores each time, outside of training too: every "
        "figure here, and what the released model says of a patient, is partly drawn at random.",
        "Use nn.Dropout, or functional.dropout(..., training=self.training).",
    )


def _no_mean(task: Task, together: float, alone: float) -> Caution:
    return Caution(
        "loss-not-a-mean",
        f"The loss of {task.spec.kind} is not a mean over rows: of a few rows together it is {together:.3g}, and the "
        f"mean of each row's own is {alone:.3g}. It may be a sum; or outputs (n, 1) meet labels (n,), each of them "
        "all.",
        "Give the mean over rows, and take outputs[:, 0] where labels are (n,). If it compares rows, as Cox's does, or "
        "weights classes, it may stay so without differential privacy.",
    )
