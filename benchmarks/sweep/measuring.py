"""Measures one case, once, in this process.

Knows which code does a scheme's rounds. That a process is fresh, and has one core, is its caller's matter.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Final, TypeVar

from benchmarks.sweep import encrypted_baseline, flower, plain
from benchmarks.sweep.case import Case, check_case
from benchmarks.sweep.cohort import survivors_of
from benchmarks.sweep.consortium import Consortium
from benchmarks.sweep.costs import costs_of
from benchmarks.sweep.measurement import Kind, Measurement
from benchmarks.sweep.memory_gauge import MemoryGauge
from benchmarks.sweep.paced_stopwatch import PacedStopwatch
from training.choices import USUAL_EPOCH_ROUNDS
from training.testbed.meter import Books, Meter

# CPU seconds, after which nothing is measured once more in the same turn: the shorter a round is, the more a moment's
# disturbance weighs, and the more of them there are.
_ROUND_SECONDS: Final = 2.5
_SET_UP_SECONDS: Final = 1.2
_SET_UPS: Final = 10
# Of a baseline, whose rounds need no keys of an epoch and may take a millisecond.
_BASELINE_ROUNDS: Final = 1000

Found = TypeVar("Found")


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
    with tempfile.TemporaryDirectory() as folder, Consortium(Path(folder), case) as consortium:
        started = time.process_time()
        set_ups = [_set_up(consortium, kind)]
        took = time.process_time() - started
        books, error = _rounds(consortium.run_round, kind, USUAL_EPOCH_ROUNDS)
        real, field_bits = consortium.real, consortium.field_bits
    if kind == "time" and took < _SET_UP_SECONDS:
        set_ups += _repeated(lambda _: _set_up_alone(case, kind), _SET_UPS - 1, _SET_UP_SECONDS - took)
    costs = tuple(costs_of(set_ups, books, real, kind))
    return Measurement(
        case=case,
        turn=turn,
        kind=kind,
        real_hospitals=len(real) if len(real) < len(survivors_of(case)) else case.hospitals,
        costs=costs,
        # With noise, it says what noise was chosen, and nothing of the scheme.
        error=error if case.dp == "none" else None,
        by=f"secagg {version('secagg')}",
        field_bits=field_bits,
    )


def _set_up_alone(case: Case, kind: Kind) -> Books:
    with tempfile.TemporaryDirectory() as folder, Consortium(Path(folder), case) as consortium:
        return _set_up(consortium, kind)


def _set_up(consortium: Consortium, kind: Kind) -> Books:
    return _metered(consortium.set_up, kind)[0]


def _baseline(
    case: Case, turn: int, kind: Kind, run_round: Callable[[Case, Meter], float], by: str, lacks: str
) -> Measurement:
    books, error = _rounds(lambda _, meter: run_round(case, meter), kind, _BASELINE_ROUNDS)
    return Measurement(
        case=case,
        turn=turn,
        kind=kind,
        real_hospitals=case.hospitals,
        costs=tuple(costs_of([], books, survivors_of(case), kind)),
        error=error,
        by=by,
        lacks=lacks,
    )


def _rounds(run_round: Callable[[int, Meter], float], kind: Kind, most: int) -> tuple[list[Books], float]:
    """What each spent in each round; the error of the first, since how many there are is not always the same."""

    def one(number: int) -> tuple[Books, float]:
        return _metered(lambda meter: run_round(number, meter), kind)

    rounds = _repeated(one, most if kind == "time" else 1, _ROUND_SECONDS)
    return [books for books, _ in rounds], rounds[0][1]


def _repeated(work: Callable[[int], Found], most: int, seconds: float) -> list[Found]:
    """What ``work`` gives for 1, 2 and so on, until so many CPU seconds have gone."""
    started, found = time.process_time(), []
    for number in range(1, most + 1):
        found.append(work(number))
        if time.process_time() - started >= seconds:
            break
    return found


def _metered(work: Callable[[Meter], Found], kind: Kind) -> tuple[Books, Found]:
    if kind == "memory":
        meter = Meter(MemoryGauge())
        return meter.books, work(meter)
    stopwatch = PacedStopwatch()
    meter = Meter(stopwatch)
    found = work(meter)
    stopwatch.settle()
    return meter.books, found
