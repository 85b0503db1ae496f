"""Homomorphic encryption as NVFlare does it: its calls of TenSEAL with its defaults, on one thread.

`benchmarks.sweep.nvflare_calls` has the calls and where in NVFlare's source they stand.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import Final

import numpy as np

from benchmarks.sweep.case import Case
from benchmarks.sweep.cohort import survivors_of
from benchmarks.sweep.nvflare_calls import NVFlare
from benchmarks.sweep.plain import NORM
from benchmarks.sweep.updates import Updates
from secagg.wire import COORDINATOR
from training.testbed.meter import Meter

LACKS: Final = "one key for all, given out beforehand: no set-up is measured; the sum is not checked"


def by() -> str:
    """Whose code it is."""
    return f"NVFlare 2.9's calls of TenSEAL {version('tenseal')}"


def run_round(case: Case, meter: Meter) -> float:
    """One round; the error of its mean."""
    nvflare, updates, survivors = NVFlare(), Updates(case.parameters, NORM), survivors_of(case)
    total = None
    for hospital in survivors:
        update = updates.of(hospital)
        with meter.of("round", hospital, update.nbytes):
            message = nvflare.encrypt(update)
        meter.sent_up("round", hospital, len(message))
        with meter.of("round", COORDINATOR, len(message)):
            total = nvflare.load(message) if total is None else nvflare.add(total, message)
    with meter.of("round", COORDINATOR):
        mean = nvflare.mean(total, len(survivors))
    for hospital in survivors:
        meter.sent_down("round", hospital, len(mean))
        with meter.of("round", hospital, len(mean)):
            opened = nvflare.decrypt(mean)
    return updates.error(np.array(opened), survivors)
