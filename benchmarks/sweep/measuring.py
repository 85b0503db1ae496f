"""Measures one case, once, in this process.

Knows which code does a scheme's rounds. That a process is fresh, and has one core, is its caller's matter.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Final

from benchmarks.sweep import encrypted_baseline, flower, plain
from benchmarks.sweep.case import EPOCH_ROUNDS, Case, check_case
from benchmarks.sweep.cohort import survivors_of
from benchmarks.sweep.consortium import Consortium, numbers_of
from benchmarks.sweep.costs import costs_of
from benchmarks.sweep.measurement import Kind, Measurement
from benchmarks.sweep.meter import Books, MemoryGauge, Meter, Stopwatch

# Numbers masked in a round, up to which so many rounds are measured a turn: the shorter one is, the more a moment's
# disturbance weighs.
_ROUNDS: Final = ((1e8, EPOCH_ROUNDS), (5e8, 3))
# Hospitals, up to which keys are set up more than once a turn: milliseconds each.
_FEW: Final = 20
_SET_UPS: Final = 5


def measure(case: Case, turn: int, kind: Kind) -> Measurement:
    """One turn.

    Raises:
        InputError: of `check_case`; ``no-flower``.
    """
    check_case(case)
    match case.scheme:
        case "flower":
            return flower.measure(case, turn, kind)
        case "plain":
            return _baseline(case, turn, kind, plain.run_round, "numpy " + version("numpy"), plain.LACKS)
        case "nvflare":
            run, lacks = encrypted_baseline.run_round, encrypted_baseline.LACKS
            return _baseline(case, turn, kind, run, encrypted_baseline.by(), lacks)
        case _:
            return _ours(case, turn, kind)


def _ours(case: Case, turn: int, kind: Kind) -> Measurement:
    set_ups, books, errors = [_set_up_alone(case, kind) for _ in range(_set_ups_of(case, kind) - 1)], [], []
    with tempfile.TemporaryDirectory() as folder, Consortium(Path(folder), case) as consortium:
        set_ups.append(_set_up(consortium, kind))
        for number in range(1, _rounds_of(case, kind) + 1):
            meter = _meter(kind)
            errors.append(consortium.run_round(number, meter))
            books.append(meter.books)
        real = consortium.real
    costs = tuple(costs_of(set_ups, books, real, kind))
    return Measurement(
        case=case,
        turn=turn,
        kind=kind,
        real_hospitals=len(real) if len(real) < len(survivors_of(case)) else case.hospitals,
        costs=costs,
        # With noise, it says what noise was chosen, and nothing of the scheme.
        error=max(errors) if case.dp == "none" else None,
        by=f"secagg {version('secagg')}",
    )


def _set_up_alone(case: Case, kind: Kind) -> Books:
    with tempfile.TemporaryDirectory() as folder, Consortium(Path(folder), case) as consortium:
        return _set_up(consortium, kind)


def _set_up(consortium: Consortium, kind: Kind) -> Books:
    meter = _meter(kind)
    consortium.set_up(meter)
    return meter.books


def _baseline(
    case: Case, turn: int, kind: Kind, run_round: Callable[[Case, Meter], float], by: str, lacks: str
) -> Measurement:
    books: list[Books] = []
    errors = []
    for _ in range(_rounds_of(case, kind)):
        meter = _meter(kind)
        errors.append(run_round(case, meter))
        books.append(meter.books)
    return Measurement(
        case=case,
        turn=turn,
        kind=kind,
        real_hospitals=case.hospitals,
        costs=tuple(costs_of([], books, survivors_of(case), kind)),
        error=max(errors),
        by=by,
        lacks=lacks,
    )


def _meter(kind: Kind) -> Meter:
    return Meter(MemoryGauge() if kind == "memory" else Stopwatch())


def _rounds_of(case: Case, kind: Kind) -> int:
    if kind == "memory":
        return 1
    return next((rounds for most, rounds in _ROUNDS if numbers_of(case) < most), 1)


def _set_ups_of(case: Case, kind: Kind) -> int:
    return _SET_UPS if kind == "time" and case.hospitals <= _FEW else 1
