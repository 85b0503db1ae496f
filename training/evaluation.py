"""How good a model is, as counts that can be summed securely.

This module knows that every patient adds exactly one to exactly one cell, so that a count's sensitivity is one, and
how counts become accuracy and AUC. It knows nothing of sums, and of noise only how large it is: cells may come back
negative.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from dp.patients import rows_at_once
from dp.row_size import row_size
from secagg.errors import InputError
from training.metrics import Metrics
from training.records import Records
from training.score_check import require_columns, require_probabilities
from training.task import Task, TaskSpec

_ODDS_SCALE = 2.0
# Rows that are scored at a time, and never fewer: in the last bits a row's score depends on how many are beside it, and
# one patient more would move others that lie on the edge between two counts.
_ROWS = 32
# Standard deviations of its noise that a total must exceed before anything is divided by it.
_CLEAR = 3


def cell_count(spec: TaskSpec) -> int:
    """How many cells `count_cells` gives: 2 for "accuracy" (wrong, right), 2 * bins for "auc" (one row a class)."""
    match spec.evaluation.metric:
        case "accuracy":
            return 2
        case "auc":
            return 2 * spec.evaluation.bin_count


def count_cells(task: Task, model: nn.Module, records: Records, device: torch.device) -> npt.NDArray[np.int64]:
    """Count patients into cells, int64 (cell_count,); their sum is the number of patients.

    A patient's score is the mean over the patient's rows, the label the largest of the rows'. A patient for whom the
    model gives no numbers counts as one for whom it is wrong: an error would tell of one patient what no noise covers.
    For the same reason nobody checks here whether scores are probabilities.

    Raises:
        InputError: ``bad-scores``, if their shape is another.
    """
    rows = _row_scores(task, model, records, device)
    rows[~np.isfinite(rows).all(axis=1)] = np.nan
    scores = _mean_by_patient(records, rows)
    labels = records.patient_labels()
    lacking = np.isnan(scores).any(axis=1)
    match task.spec.evaluation.metric:
        case "accuracy":
            cells = ((scores.argmax(axis=1) == labels) & ~lacking).astype(np.int64)
        case "auc":
            bins = task.spec.evaluation.bin_count
            scores[lacking] = 0.5
            # Just on the wrong side of one half.
            wrong = bins // 2 - labels
            cells = labels * bins + np.where(lacking, wrong, _bins_of(scores, bins))
    return np.bincount(cells, minlength=cell_count(task.spec)).astype(np.int64)


def metrics_from_cells(spec: TaskSpec, cells: npt.NDArray[np.int64], variance: float = 0.0) -> Metrics:
    """Accuracy, and AUC where it was asked for, from summed cells; None where noise hides how many patients there are.

    The AUC is that of the binned scores, ties counted half. Cells keep their sign: were each cut at zero by itself, the
    noise of (nearly) empty ones would add patients to both classes alike, and draw both results to one half. All sums
    are of whole numbers without a limit, so that every hospital comes to the same bits.

    Args:
        cells: int64 (cell_count,).
        variance: of the noise on each cell; 0 of exact counts.

    Raises:
        InputError: ``bad-cells`` when there are not `cell_count` cells.
    """
    if cells.shape != (cell_count(spec),):
        message = f"{cells.shape} metric cells were summed; the task has {cell_count(spec)}."
        raise InputError("bad-cells", message, remedy="Every hospital must evaluate the charter's own task.")
    counts: list[int] = cells.tolist()
    total = sum(counts)
    match spec.evaluation.metric:
        case "accuracy":
            right, auc = counts[1], None
        case "auc":
            half = spec.evaluation.bin_count // 2
            negatives, positives = counts[: 2 * half], counts[2 * half :]
            right = sum(negatives[:half]) + sum(positives[half:])
            auc = _binned_auc(negatives, positives, variance)
    accuracy = _share(right, total) if _is_clear(total, len(counts), variance) else None
    return Metrics(accuracy, auc, max(0, total))


def evaluate(task: Task, model: nn.Module, records: Records, device: torch.device) -> Metrics:
    """Exact accuracy and (for two classes) exact AUC, for records that the caller may see.

    Raises:
        InputError: ``nan-scores``, ``bad-scores``.
    """
    scores = _patient_scores(task, model, records, device)
    # Half of the time that a hospital's process takes to start, and it starts for every epoch.
    from sklearn.metrics import roc_auc_score

    labels = records.patient_labels()
    accuracy = float((scores.argmax(axis=1) == labels).mean())
    binary = scores.shape[1] == 2 and len(np.unique(labels)) == 2
    auc = float(roc_auc_score(labels, scores[:, 1])) if binary else None
    return Metrics(accuracy, auc, len(labels))


def _patient_scores(task: Task, model: nn.Module, records: Records, device: torch.device) -> npt.NDArray[np.float64]:
    """Mean class probabilities of each patient, float64 (p, classes)."""
    rows = _row_scores(task, model, records, device)
    if not np.isfinite(rows).all():
        message = f"The model's scores on {records.source} are not all finite numbers."
        raise InputError(
            "nan-scores", message, culprit=records.source, remedy="Training diverged: lower the learning rate."
        )
    require_probabilities(task.spec, rows)
    return _mean_by_patient(records, rows)


def _mean_by_patient(records: Records, rows: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    sums = np.zeros((records.patient_count, rows.shape[1]))
    np.add.at(sums, records.patients, rows)
    means: npt.NDArray[np.float64] = sums / np.bincount(records.patients)[:, np.newaxis]
    return means


def _row_scores(task: Task, model: nn.Module, records: Records, device: torch.device) -> npt.NDArray[np.float64]:
    was_training = model.training
    model.to(device)
    model.eval()
    most = min(_ROWS, rows_at_once(0, row_size(model, torch.from_numpy(records.features[:1]).to(device))))
    pieces = []
    # Not inference mode: what a model's code keeps of a batch could take no part in training.
    with torch.no_grad():
        for start in range(0, len(records), most):
            # The last are filled up with the first. A copy: a model may change what it is given.
            rows = np.arange(start, start + most) % len(records)
            batch = torch.from_numpy(records.features[rows]).to(device)
            scores = task.scores(model(batch))
            require_columns(task.spec, scores, most)
            pieces.append(scores.detach().float().cpu().numpy().astype(np.float64))
    model.train(was_training)
    return np.concatenate(pieces)[: len(records)]


def _bins_of(scores: npt.NDArray[np.float64], bins: int) -> npt.NDArray[np.int64]:
    """The bin, 0..bins-1, of each patient's score (n, 2); one half is an edge.

    Bins of equal probability width would put most patients of a confident model into the outermost two and cost the
    AUC several points. Log-odds t are cut instead, evenly in t / (2 + |t|): fine near one half, never saturated.
    """
    smallest = np.finfo(np.float32).tiny
    clipped = np.maximum(scores, smallest)
    odds = np.log(clipped[:, 1]) - np.log(clipped[:, 0])
    place = 0.5 + 0.5 * odds / (_ODDS_SCALE + np.abs(odds))
    cells: npt.NDArray[np.int64] = np.clip((place * bins).astype(np.int64), 0, bins - 1)
    return cells


def _binned_auc(negatives: Sequence[int], positives: Sequence[int], variance: float) -> float | None:
    if not all(_is_clear(sum(one), len(one), variance) for one in (negatives, positives)):
        return None
    doubled_pairs = below = 0
    for negative, positive in zip(negatives, positives, strict=True):
        doubled_pairs += positive * (2 * below + negative)
        below += negative
    return _share(doubled_pairs, 2 * sum(negatives) * sum(positives))


def _is_clear(total: int, cells: int, variance: float) -> bool:
    """Whether the total of so many cells is more than what their noise alone may well be."""
    return total > 0 and total * total > _CLEAR * _CLEAR * cells * variance


def _share(part: int, whole: int) -> float:
    return min(1.0, max(0.0, part / whole))
