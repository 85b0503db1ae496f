"""Runs cases by turns, each in a process of its own, and goes on where a run was stopped.

By turns: all cases once, then all once more, so that what disturbs the machine for a while disturbs them alike.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import msgspec

from benchmarks.sweep import flower
from benchmarks.sweep.case import Case, Scheme, check_case
from benchmarks.sweep.environment import Environment
from benchmarks.sweep.folder import RunWriter
from benchmarks.sweep.measurement import Limits, Measurement, Row
from benchmarks.sweep.worker import Failure, Order
from secagg.errors import InputError, SecaggError
from secagg.json_documents import MALFORMED

USUAL_TURNS: Final = 3
_MEMORY_TURN: Final = 0
# The allocator gives back what is freed, so that the kernel's count is what is held. It is slower: a turn apart.
_GIVING_BACK: Final = {"MALLOC_MMAP_THRESHOLD_": "262144", "MALLOC_TRIM_THRESHOLD_": "262144"}
_ONE_THREAD: Final = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def orders(cases: Sequence[Case], turns: int) -> Iterator[Order]:
    """All that there is to measure, in order: memory once, then the machine's limits and times, turn by turn."""
    for case in cases:
        if case.scheme != "flower":
            yield Order(_MEMORY_TURN, "memory", case)
    for turn in range(1, turns + 1):
        yield Order(turn)
        for case in cases:
            yield Order(turn, "time", case)


def missing_here() -> dict[Scheme, str]:
    """The baselines that are not on this machine, and how to have them."""
    return {} if flower.python().exists() else {"flower": flower.HOW}


def measurable(cases: Sequence[Case]) -> list[Case]:
    """Those of ``cases`` whose code is on this machine."""
    missing = missing_here()
    return [case for case in cases if case.scheme not in missing]


def run_cases(
    writer: RunWriter, cases: Sequence[Case], turns: int, on_order: Callable[[Order], None]
) -> dict[Case | None, SecaggError]:
    """Measure what is not in the folder yet; what could not be measured, and why. The others are, all the same.

    Cases of what is not installed are left for another time.

    Args:
        on_order: is told of each before it is measured, and of each that was measured before.

    Raises:
        InputError: of `RunWriter.add`, or why a case cannot be had.
    """
    for case in cases:
        check_case(case)
    done = {_order_of(row) for row in writer.rows}
    failed: dict[Case | None, SecaggError] = {}
    for order in orders(measurable(cases), turns):
        on_order(order)
        if order in done or order.case in failed:
            continue
        try:
            row = measured(order)
        except SecaggError as error:
            failed[order.case] = error
        else:
            # Each process runs what is on the disk by then.
            writer.add(row, Environment.here())
    return failed


def measured(order: Order) -> Row:
    """One row, measured in a process of its own.

    Raises:
        InputError: what the process says; ``worker-failed``.
    """
    more = _GIVING_BACK if order.kind == "memory" else {}
    done = subprocess.run(
        # -P: what lies in the working folder is not imported.
        [sys.executable, "-P", "-m", "benchmarks.sweep.worker"],
        input=msgspec.json.encode(order),
        capture_output=True,
        env=os.environ | _ONE_THREAD | more,
        check=False,
    )
    try:
        answer = msgspec.json.decode(done.stdout, type=Measurement | Limits | Failure)
    except MALFORMED as error:
        what = order.case.name if order.case else "the machine's limits"
        told = done.stderr.decode(errors="replace").strip().splitlines()
        raise SecaggError(
            "worker-failed",
            f"The process that measures {what} ended with {done.returncode}: {told[-1] if told else 'no word'}.",
            culprit=what,
            remedy="Free some memory, or leave the case out; what was measured is kept.",
        ) from error
    if isinstance(answer, Failure):
        raise InputError(answer.reason, answer.message, culprit=answer.culprit, remedy=answer.remedy)
    return answer


def _order_of(row: Row) -> Order:
    return Order(row.turn, row.kind, row.case) if isinstance(row, Measurement) else Order(row.turn)
