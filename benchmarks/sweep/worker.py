"""One turn in a process of its own: ``python -P -m benchmarks.sweep.worker``, an order on standard input, a row out.

The process has one core, so that what it costs is what one core costs, and all parties share it.
"""

from __future__ import annotations

import os
import sys

import msgspec

from benchmarks.sweep.case import Case
from benchmarks.sweep.measurement import Kind
from secagg.errors import SecaggError
from training.open_files import many_files


class Order(msgspec.Struct, frozen=True):
    """What to measure. No case: the machine's limits."""

    turn: int
    kind: Kind = "time"
    case: Case | None = None


class Failure(msgspec.Struct, frozen=True, tag="failure"):
    """What is answered where nothing could be measured; the fields of `SecaggError`."""

    reason: str
    message: str
    culprit: str | None
    remedy: str | None


def main() -> None:
    """Read, measure, write."""
    order = msgspec.json.decode(sys.stdin.buffer.read(), type=Order)
    # TenSEAL warns on standard output.
    answers = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    # Each hospital's latch has some files open.
    with many_files(), os.fdopen(answers, "wb") as out:
        out.write(msgspec.json.encode(_answer(order)))


def _answer(order: Order) -> msgspec.Struct:
    # Only here: it counts cores when it is loaded.
    from benchmarks.sweep.limits import measure_limits
    from benchmarks.sweep.measuring import measure

    try:
        return measure(order.case, order.turn, order.kind) if order.case else measure_limits(order.turn)
    except SecaggError as error:
        return Failure(**error.fields())


if __name__ == "__main__":
    main()
