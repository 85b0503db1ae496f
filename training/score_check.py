"""Whether a task's scores are class probabilities: measures made of anything else look right and are wrong.

Knows shapes and sums. Knows nothing of models or measures.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
from torch import Tensor

from secagg.errors import InputError
from training.tasks.spec import TaskSpec

# Of a row's sum: half precision is as far off.
_TOLERANCE: Final = 0.01


def require_columns(spec: TaskSpec, scores: object, rows: int) -> None:
    """Refuse scores of another shape than (rows, classes): what patients' records hold does not matter here.

    Raises:
        InputError: ``bad-scores``.
    """
    # Somebody's own code may give anything.
    if not isinstance(scores, Tensor):
        raise _bad(spec, f"gave {type(scores).__name__} instead of a tensor")
    if tuple(scores.shape) != (rows, spec.data.classes):
        raise _bad(spec, f"gave {tuple(scores.shape)} for a batch of {rows}")


def require_probabilities(spec: TaskSpec, scores: npt.NDArray[np.float64]) -> None:
    """Refuse scores (n, classes) that are not from 0 to 1, or of which a row does not sum to 1.

    Raises:
        InputError: ``bad-scores``.
    """
    if scores.min() < -_TOLERANCE or scores.max() > 1 + _TOLERANCE:
        raise _bad(spec, "gave numbers that are not from 0 to 1")
    if np.abs(scores.sum(axis=1) - 1).max() > _TOLERANCE:
        raise _bad(spec, "gave rows that do not sum to 1")


def _bad(spec: TaskSpec, what: str) -> InputError:
    classes = spec.data.classes
    return InputError(
        "bad-scores",
        f"scores(outputs) of {spec.kind} must give a probability for each of the {classes} classes of each row, shape "
        f"(n, {classes}), and {what}.",
        culprit=spec.kind,
        remedy="Return outputs.softmax(dim=1), or for one output p = sigmoid(outputs) the columns 1 - p and p; set "
        "data.classes to the number of classes.",
    )
