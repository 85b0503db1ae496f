"""How far a training is, told alike by every hospital from the sums it applied."""

from __future__ import annotations

import numpy as np

from dp.plan import carries_counts
from secagg.charter import Charter
from training.evaluation import metrics_from_cells
from training.hospital_state import Progress
from training.metrics import Metrics
from training.noise import count_variance
from training.task import TaskSpec


def latest_metrics(charter: Charter, spec: TaskSpec, progress: Progress) -> Metrics | None:
    """The consortium's validation metrics as of the last sum with counts; they describe the model before that sum.

    Where its noise hides them they are None, whatever an earlier sum showed.
    """
    if charter.metrics.release == "none":
        return None
    counted = next((applied for applied in reversed(progress.applied) if applied.cells), None)
    if counted is None:
        return None
    variance = count_variance(charter, len(counted.survivors))
    return metrics_from_cells(spec, np.array(counted.cells, np.int64), variance)


def counts_are_due(charter: Charter, step: int) -> bool:
    """Whether the ``step``-th sum carries validation counts."""
    metrics = charter.metrics
    return metrics.release != "none" and carries_counts(step, metrics.every, charter.training.rounds)


def is_finished(charter: Charter, spec: TaskSpec, progress: Progress) -> bool:
    """Whether every sum that the charter asks for was applied, or its target was reached."""
    if len(progress.applied) >= charter.training.rounds:
        return True
    metrics = latest_metrics(charter, spec, progress)
    if metrics is None or charter.metrics.target is None:
        return False
    reached = metrics.auc if spec.evaluation.metric == "auc" else metrics.accuracy
    return reached is not None and reached >= charter.metrics.target
