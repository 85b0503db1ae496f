"""A run in a process of its own that kills itself at a chosen write, so that neither Python nor SQLite can tidy up."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from dp.ledger import Ledger
from secagg.egress import EgressLog
from secagg.errors import InputError
from secagg.latch import Latch
from tests.faults.forkserver import forkserver
from training.coordinator_store import CoordinatorStore
from training.hospital import Hospital
from training.hospital_budget import HospitalBudget
from training.hospital_state import HospitalState
from training.simulation import Observer, run

torch.set_num_threads(1)

IN_USE = 7
PATIENCE = 120
POINTS = {
    "latch-epoch": (Latch, "record_epoch"),
    "latch-masked": (Latch, "record_masked"),
    "latch-revealed": (Latch, "record_revealed"),
    "ledger": (Ledger, "_append"),
    "egress": (EgressLog, "record"),
    "state": (HospitalState, "save"),
    "coordinator": (CoordinatorStore, "update"),
    "kept-sum": (CoordinatorStore, "keep_sum"),
    "round": (CoordinatorStore, "add_round"),
}


def as_it_is() -> None:
    """Weakens nothing."""


def run_in_a_process(
    folder: Path, point: str = "", count: int = 0, moment: str = "", weaken: Callable[[], None] = as_it_is
) -> int | None:
    """Run ``folder`` in a new process that dies by SIGKILL before or after its ``count``-th write at ``point``.

    Args:
        weaken: what takes a rule out of that process, before anything else.

    Returns its exit code: minus the signal that killed it, or ``IN_USE``.
    """
    process = forkserver().Process(target=_run, args=(folder, point, count, moment, weaken))
    process.start()
    process.join(PATIENCE)
    code = process.exitcode
    process.kill()
    process.join()
    process.close()
    return code


def charge_after_sending() -> None:
    """A weakened build: a round is charged when its vector has been masked and may have left."""
    charge, contribute = HospitalBudget.charge, Hospital._contribute
    due: list[Callable[[], None]] = []

    def charge_later(budget: HospitalBudget, round_number: int, step: int) -> None:
        due.append(partial(charge, budget, round_number, step))

    def contribute_first(hospital: Hospital) -> bytes:
        reply = contribute(hospital)
        while due:
            due.pop()()
        return reply

    HospitalBudget.charge, Hospital._contribute = charge_later, contribute_first


def _run(folder: Path, point: str, count: int, moment: str, weaken: Callable[[], None]) -> None:
    weaken()
    if point:
        _die_at(point, count, moment)
    try:
        run(folder, Observer())
    except InputError as error:
        sys.exit(IN_USE if error.reason == "state-in-use" else 1)


def _die_at(point: str, count: int, moment: str) -> None:
    owner, name = POINTS[point]
    method: Callable[..., object] = getattr(owner, name)
    calls = 0

    def counted(*arguments: object, **named: object) -> object:
        nonlocal calls
        calls += 1
        if calls == count and moment == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = method(*arguments, **named)
        if calls == count:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, counted)
