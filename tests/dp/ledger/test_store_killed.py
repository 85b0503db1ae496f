"""Who is killed while writing to a ledger leaves no release unrecorded; two processes never hold one."""

from __future__ import annotations

import signal
import subprocess
import sys
from itertools import takewhile

import pytest

from dp.ledger import Kind, Ledger
from dp.ledger.entries import LEDGER
from dp.ledger.spending import cost_epsilon
from secagg.identity import Identity
from secagg.signed_log import read_log
from tests.support.errors import error_of
from tests.support.ledgers import BUDGET, DATA, DELTA, NOW, ROUND, RUN, SEED, cost, rounds, spent

CHILD = """
import os, signal, sys
from pathlib import Path
from dp.events import GaussianEvent
from dp.ledger import Cost, Ledger
from dp.ledger.spending import cost_epsilon
from dp.ledger.store import Budget
from secagg.identity import Identity

folder, writes, data = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
site = Identity.from_seed(bytes(range(32)))
budget = Budget(3.0, 1e-5)


def cost(rounds):
    return Cost((GaussianEvent(1.5, 0.1, 5 * rounds),), (GaussianEvent(40.0, 1.0, rounds),))


class DyingDatabase:
    def __init__(self, database, left, moment):
        self.database, self.left, self.moment = database, left, moment

    def execute(self, *arguments):
        self.left -= 1
        if self.left == 0 and self.moment == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        self.database.execute(*arguments)
        if self.left == 0 and self.moment == "after":
            os.kill(os.getpid(), signal.SIGKILL)


def work(left, moment):
    ledger = Ledger(folder / f"{left}-{moment}.sqlite", site)
    ledger._database = DyingDatabase(ledger._database, left, moment)
    ledger.reserve(data, "1" * 64, cost(3), budget, "")
    for number in range(1, 5):
        ledger.charge(data, "1" * 64, number, cost(1), budget, "")
        print(f"{left}-{moment} released", flush=True)
        ledger.commit(data, "1" * 64, number, budget.delta, "")
    ledger.close_run(data, "1" * 64, budget.delta, "")


# One import for all, of what the accountant needs too: a fork for each way to die.
cost_epsilon(cost(1), budget.delta)
for left in range(1, writes + 1):
    for moment in ("before", "after"):
        child = os.fork()
        if child == 0:
            work(left, moment)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status):
            print(f"{left}-{moment} killed {os.WTERMSIG(status)}", flush=True)
with Ledger(folder / "held.sqlite", site) as ledger:
    ledger.reserve(data, "1" * 64, cost(3), budget, "")
    print("holding", flush=True)
    sys.stdin.read()
"""

# One reservation, three rounds of two entries, one extension, one more round, the end.
WRITES = [
    Kind.RESERVE,
    *(Kind.CHARGE, Kind.COMMIT) * 3,
    Kind.RESERVE,
    Kind.CHARGE,
    Kind.COMMIT,
    Kind.CLOSE,
]


@pytest.fixture
def site():
    return Identity.from_seed(SEED)


@pytest.fixture(scope="module")
def owners(tmp_path_factory):
    """A folder of ledgers whose owners were killed, what those said before, and who holds ``held.sqlite`` there."""
    folder = tmp_path_factory.mktemp("killed")
    command = [sys.executable, "-c", CHILD, folder, str(len(WRITES)), DATA]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        said = list(takewhile(lambda line: line != "holding", map(str.strip, child.stdout)))
        yield folder, said, child


@pytest.fixture
def killed(owners):
    return owners[:2]


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("number", range(1, len(WRITES) + 1))
def test_kill_9_at_any_write_leaves_no_release_unrecorded(killed, site, number, moment):
    folder, said = killed
    assert f"{number}-{moment} killed {signal.SIGKILL.value}" in said
    released = said.count(f"{number}-{moment} released")
    path = folder / f"{number}-{moment}.sqlite"
    with Ledger(path, site) as ledger:
        assert [entry.kind for entry in ledger.entries] == WRITES[: number if moment == "after" else number - 1]
        assert spent(ledger) >= cost_epsilon(rounds(released), DELTA)
        run = ledger.spending(DATA).run(RUN)
        if ledger.entries and not run.closed:
            assert spent(ledger) == cost(max(3, run.rounds, 4 if number > 7 + (moment == "before") else 0))
        ledger.charge(DATA, RUN, 9, ROUND, BUDGET, NOW)
        assert spent(ledger) >= cost_epsilon(rounds(released + 1), DELTA)
    read_log(path, site.public_key, LEDGER)


def test_two_processes_cannot_hold_one_ledger_but_anybody_with_the_file_can_read_it(owners, site):
    folder, _, child = owners
    path = folder / "held.sqlite"
    assert error_of(Ledger, path, site).reason == "state-in-use"
    assert [entry.kind for entry in read_log(path, site.public_key, LEDGER)] == [Kind.RESERVE]
    child.stdin.close()
    assert child.wait() == 0
    with Ledger(path, site) as ledger:
        assert spent(ledger) == cost(3)
