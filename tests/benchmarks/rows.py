"""Rows of a run that nobody measured."""

from __future__ import annotations

from benchmarks.sweep.case import Case
from benchmarks.sweep.measurement import Cost, Kind, Measurement


def row(case: Case, turn: int, kind: Kind = "time", cpu: float = 0.01, yardsticks: float | None = None) -> Measurement:
    """A round that takes a hospital ``cpu`` seconds and so many yardsticks, and the coordinator twice as long."""
    timed = kind == "time"
    costs = tuple(
        Cost(
            phase="round",
            party=party,
            cpu=cpu * factor if timed else None,
            wall=cpu * factor if timed else None,
            yardsticks=yardsticks * factor if timed and yardsticks else None,
            memory=None if timed else 1e6,
            bytes_up=4.0 * case.parameters,
            bytes_down=3.0 * case.parameters,
            messages_up=1,
            messages_down=1,
        )
        for party, factor in (("hospital", 1), ("coordinator", 2))
    )
    return Measurement(
        case=case, turn=turn, kind=kind, real_hospitals=case.hospitals, costs=costs, error=1e-4, by="nobody"
    )
