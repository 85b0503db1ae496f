"""A hospital's books in a process of its own, through all that is written into them, until something kills it.

Each round's release is told the moment it may leave: what is told has left.
"""

from __future__ import annotations

import os
import signal
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

from dp.events import GaussianEvent
from dp.ledger import Budget, Cost, Ledger, PatientList
from dp.ledger.export import read_export
from secagg.egress import EgressLog
from secagg.identity import Identity
from secagg.latch import Latch
from tests.faults.sqlite_writes import Moment, Writes
from training.hospital_folder import HospitalFolder
from training.hospital_logs import HospitalLogs

SITE = Identity.from_seed(bytes(range(32)))
PATIENTS = PatientList.of([[b"a" * 16], [b"b" * 16]])
OTHERS = PatientList.of([[b"b" * 16], [b"c" * 16]])
RUN, OTHER_RUN, FOREIGN_RUN = "1" * 64, "2" * 64, "3" * 64
BUDGET = Budget(epsilon=30.0, delta=1e-5)
EXPORT = "foreign.json"
LEFT, DONE = "left", "done"


def rounds(count: int) -> Cost:
    return Cost((GaussianEvent(1.5, 0.1, 5 * count),))


def play(home: Path, told: Callable[[str], None]) -> None:
    """A run on one data set, an import, and a run on another data set with a patient in common, given up."""
    folder = HospitalFolder(home)
    with Latch(folder.latch) as latch, Ledger(folder.ledger, SITE) as ledger, EgressLog(folder.egress, SITE) as egress:
        logs = HospitalLogs(latch, ledger, egress)
        for patients, run, count in ((PATIENTS, RUN, 3), (OTHERS, OTHER_RUN, 2)):
            data_set, charter = ledger.enrol(patients), bytes.fromhex(run)
            epoch = latch.last_epoch(charter) + 1
            latch.record_epoch(charter, epoch)
            ledger.reserve(data_set, run, rounds(2), BUDGET, "")
            logs.note()
            for number in range(1, count + 1):
                ledger.charge(data_set, run, number, rounds(1), BUDGET, "")
                latch.record_masked(charter, epoch, latch.last_round(charter) + 1, logs.places)
                told(f"{LEFT} {data_set} {run}")
                ledger.commit(data_set, run, number, BUDGET.delta, "")
            if run == RUN:
                ledger.close_run(data_set, run, BUDGET.delta, "")
                ledger.take_over(read_export(home.parent / EXPORT, SITE.public_key))
            else:
                ledger.release_run(data_set, run, "")
            logs.note()


class Boundaries(Writes):
    """SQLite's writes, and the flushes and renames of all other files."""

    def watch(self) -> None:
        super().watch()
        flush, rename = os.fsync, Path.replace

        def counted_flush(descriptor: int) -> None:
            self.one()
            flush(descriptor)

        def counted_rename(path: Path, target: Path) -> Path:
            self.one()
            return rename(path, target)

        os.fsync = counted_flush
        Path.replace = counted_rename  # type: ignore[method-assign]

    def one(self) -> None:
        self.count += 1
        if self.count == self.fatal:
            os.kill(os.getpid(), signal.SIGKILL)


def life_of(home: Path, fatal: int = 0, moment: Moment = Moment.BEFORE) -> tuple[int, list[list[str]]]:
    """The whole play in a process of its own, which dies at one boundary: how it ended, and what it had told.

    A fork, so that nothing has to be imported: it ends without a word to anybody. If it comes to the end, it tells how
    many boundaries there were.
    """
    source, sink = os.pipe()
    with warnings.catch_warnings():
        # Of threads that the child does not have: it computes nothing that its parent has not.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if not child:
        try:
            boundaries = Boundaries(fatal, moment)
            boundaries.watch()
            boundaries.counting = True
            play(home, lambda what: os.write(sink, f"{what}\n".encode()))
            os.write(sink, f"{DONE} {boundaries.count}\n".encode())
        finally:
            os._exit(1 if sys.exc_info()[0] else 0)
    os.close(sink)
    with os.fdopen(source) as told:
        lines = told.read().splitlines()
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status), [line.split() for line in lines]
