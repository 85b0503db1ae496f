"""A run in the format of pytest-benchmark's JSON, so that its `compare` and whatever else reads that can read a run.

One benchmark for each case, phase and party; its data are CPU seconds, one for each turn. All else is in
``extra_info``.
Source: pytest-benchmark 5, `pytest_benchmark/stats.py` and `utils.py`.
"""

from __future__ import annotations

import statistics
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from benchmarks.sweep.folder import Run
from benchmarks.sweep.results import Figures, Result, results_of
from secagg.json_documents import json_for_people

_FORMAT: Final = "5.1.0"
_CLOCK: Final = "process_time"


def results_json(run: Run, now: datetime) -> bytes:
    """The whole file.

    Args:
        now: when it is written, with a time zone.
    """
    environment = run.environment
    machine = {
        "node": "",
        "processor": environment.cpu,
        "machine": environment.cpu,
        "python_compiler": "",
        "python_implementation": environment.python.split()[0],
        "python_implementation_version": environment.python.split()[1],
        "python_version": environment.python.split()[1],
        "python_build": [],
        "release": environment.system.split()[-1],
        "system": environment.system.split()[0],
        "cpu": {"brand_raw": environment.cpu, "count": environment.cores},
        "memory": environment.memory,
        "packages": environment.packages,
        "limits": msgspec.to_builtins(run.limits),
    }
    found = {
        "machine_info": machine,
        "commit_info": {"id": environment.revision, "dirty": "-dirty" in (environment.revision or "")},
        "benchmarks": [
            _benchmark(result, figures)
            for result in results_of(run)
            for figures in result.figures.values()
            if figures.cpu
        ],
        "datetime": now.astimezone(UTC).isoformat(),
        "version": _FORMAT,
    }
    return json_for_people(found)


def _benchmark(result: Result, figures: Figures) -> dict[str, Any]:
    cost, case = figures.cost, result.case
    name = f"{cost.phase}:{cost.party}[{case.name}]"
    extra = msgspec.to_builtins(cost) | {
        "error": result.error,
        "real_hospitals": result.real_hospitals,
        "field_bits": result.field_bits,
        "by": result.by,
    }
    return {
        "group": f"{cost.phase}: {cost.party}",
        "name": name,
        "fullname": name,
        "params": msgspec.to_builtins(case),
        "param": case.name,
        "extra_info": extra,
        "options": {
            "disable_gc": False,
            "timer": _CLOCK,
            "min_rounds": len(figures.cpu),
            "max_time": 0,
            "min_time": 0,
            "warmup": False,
        },
        "stats": _stats(figures.cpu),
    }


def _stats(data: list[float]) -> dict[str, Any]:
    ordered, mean = sorted(data), statistics.mean(data)
    deviation = statistics.stdev(data) if len(data) > 1 else 0.0
    first, median, third = statistics.quantiles(ordered, n=4, method="inclusive") if len(data) > 1 else ordered * 3
    spread = third - first
    low = [one for one in ordered if one >= first - 1.5 * spread]
    high = [one for one in ordered if one <= third + 1.5 * spread]
    beyond = sum(abs(one - mean) > deviation for one in data)
    outside = len(data) - len(set(low) & set(high))
    return {
        "min": ordered[0],
        "max": ordered[-1],
        "mean": mean,
        "stddev": deviation,
        "rounds": len(data),
        "median": median,
        "iqr": spread,
        "q1": first,
        "q3": third,
        "iqr_outliers": outside,
        "stddev_outliers": beyond,
        "outliers": f"{beyond};{outside}",
        "ld15iqr": low[0],
        "hd15iqr": high[-1],
        "ops": 1 / mean if mean else 0.0,
        "total": sum(data),
        "data": data,
        "iterations": 1,
    }
