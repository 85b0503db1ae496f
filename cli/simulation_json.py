"""A simulation's result as JSON: the shape that `simulate --json` and `demo --json` promise."""

from __future__ import annotations

import msgspec

from training.evaluation import Metrics
from training.report import RoundRecord
from training.simulation import SimulationResult


class MetricsJson(msgspec.Struct, frozen=True):
    """Accuracy and AUC on the test patients."""

    accuracy: float | None
    auc: float | None
    patients: int


class RoundJson(msgspec.Struct, frozen=True):
    """One round; see `training.report.RoundRecord`."""

    record: RoundRecord
    metrics: MetricsJson | None
    epsilon: float | None


class ResultJson(msgspec.Struct, frozen=True):
    """The whole run."""

    folder: str
    charter: str
    rounds: list[RoundJson]
    federated: MetricsJson
    pooled: MetricsJson | None
    curator: MetricsJson | None
    alone: dict[str, MetricsJson]


def as_struct(result: SimulationResult) -> ResultJson:
    """The result, ready to be encoded."""
    return ResultJson(
        str(result.folder),
        result.charter.digest.hex(),
        [RoundJson(row.record, _maybe(row.metrics), row.epsilon) for row in result.rounds],
        _metrics(result.federated),
        _maybe(result.pooled),
        _maybe(result.curator),
        {name: _metrics(metrics) for name, metrics in result.alone},
    )


def _metrics(metrics: Metrics) -> MetricsJson:
    return MetricsJson(metrics.accuracy, metrics.auc, metrics.patients)


def _maybe(metrics: Metrics | None) -> MetricsJson | None:
    return None if metrics is None else _metrics(metrics)
