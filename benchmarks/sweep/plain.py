"""FedAvg without any protection: float32 vectors, their mean. What everything else is an overhead over."""

from __future__ import annotations

from typing import Final

import numpy as np

from benchmarks.sweep.case import Case
from benchmarks.sweep.cohort import survivors_of
from benchmarks.sweep.updates import Updates
from secagg.wire import COORDINATOR
from training.testbed.meter import Meter

NORM: Final = 10.0
LACKS: Final = "hides nothing, checks nothing; bytes are the numbers alone"


def run_round(case: Case, meter: Meter) -> float:
    """One round; the error of its mean."""
    updates, survivors = Updates(case.parameters, NORM), survivors_of(case)
    with meter.of("round", COORDINATOR):
        total = np.zeros(case.parameters, np.float32)
    for hospital in survivors:
        update = updates.of(hospital)
        with meter.of("encoding", hospital, update.nbytes):
            message = update.astype(np.float32).tobytes()
        meter.sent_up("round", hospital, len(message))
        with meter.of("round", COORDINATOR, len(message)):
            np.add(total, np.frombuffer(message, np.float32), out=total)
    with meter.of("round", COORDINATOR):
        total /= len(survivors)
        mean = total.tobytes()
    for hospital in survivors:
        meter.sent_down("round", hospital, len(mean))
        with meter.of("round", hospital, len(mean)):
            received = np.frombuffer(mean, np.float32).copy()
    return updates.error(received, survivors)
