"""What has left a hospital is in its books, wherever it is killed; whatever is put back in their place is found out."""

from __future__ import annotations

import shutil
import signal
import tempfile
from collections import Counter
from pathlib import Path

import pytest

from dp.accounting import epsilon_of_runs
from dp.ledger import Ledger, PatientList
from dp.ledger.export import export_ledger
from secagg.errors import TamperingError
from tests.faults.ledger_driver import (
    BUDGET,
    DONE,
    EXPORT,
    FOREIGN_RUN,
    LEFT,
    OTHER_RUN,
    OTHERS,
    PATIENTS,
    RUN,
    SITE,
    life_of,
    play,
    rounds,
)
from tests.faults.sqlite_writes import Moment
from training.hospital_folder import HospitalFolder
from training.hospital_logs import HospitalLogs, open_site_ledger, read_site_ledger


@pytest.fixture(scope="module")
def memory():
    """A folder in memory, where there is one: what kill -9 leaves behind is the same, and flushing is free."""
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shared if shared.is_dir() else None) as folder:
        home = Path(folder)
        with Ledger(home / "elsewhere" / "ledger.sqlite", SITE) as ledger:
            for number in (1, 2):
                ledger.charge(ledger.enrol(PATIENTS), FOREIGN_RUN, number, rounds(1), BUDGET, "")
        (home / EXPORT).write_bytes(export_ledger(home / "elsewhere" / "ledger.sqlite", SITE))
        yield home


def released(said) -> Counter:
    return Counter((words[1], words[2]) for words in said if words[0] == LEFT)


def epsilon(counts: Counter) -> float:
    runs = [(rounds(count).training,) for count in counts.values() if count]
    return epsilon_of_runs(runs, BUDGET.delta)


def true_spend(left: Counter, patients: PatientList) -> float:
    """Of the patient of the data set who has spent most, by what has left: two of three are in one data set only."""
    of_first = Counter({key: count for key, count in left.items() if key[0] == PATIENTS.data_set})
    of_other = Counter({key: count for key, count in left.items() if key[0] == OTHERS.data_set})
    return max(epsilon(left), epsilon(of_first if patients is PATIENTS else of_other))


def assert_all_is_recorded(home, said):
    """The books open, count all that has left, and go on to the end."""
    left = released(said)
    folder = HospitalFolder(home)
    if folder.latch.exists():
        with open_site_ledger(folder, SITE) as ledger:
            for patients in (PATIENTS, OTHERS):
                found = ledger.spending(patients.data_set).epsilon(BUDGET.delta)
                assert found >= true_spend(left, patients) * (1 - 1e-12)
    else:
        assert not left
    more: list[str] = []
    play(home, more.append)
    left += released([words.split() for words in more])
    _, account = read_site_ledger(folder, SITE.public_key)
    for (data_set, run), count in left.items():
        assert account.spending(data_set).run(run).rounds >= count
    (imported,) = (run for run in account.spending(PATIENTS.data_set).runs if run.imported)
    assert imported.rounds == 2


@pytest.fixture(scope="module")
def whole(memory):
    """How many boundaries a life has that nothing cuts short."""
    # Here first: what it computes once need not be computed by each of those that die.
    play(memory / "here", lambda _: None)
    code, said = life_of(memory / "whole")
    assert code == 0
    assert released(said) == {(PATIENTS.data_set, RUN): 3, (OTHERS.data_set, OTHER_RUN): 2}
    assert said[-1][0] == DONE
    assert_all_is_recorded(memory / "whole", said)
    return int(said[-1][1])


def all_die(memory, moment, fatals):
    """How much had left of those that were killed at these writes."""
    left = set()
    for fatal in fatals:
        home = memory / f"{moment}-{fatal}"
        code, said = life_of(home, fatal, moment)
        assert code == -signal.SIGKILL
        assert_all_is_recorded(home, said)
        shutil.rmtree(home, ignore_errors=True)
        left.add(sum(released(said).values()))
    return left


@pytest.mark.parametrize(("moment", "first"), [(Moment.BEFORE, 1), (Moment.WITHIN, 4)])
def test_books_whose_owner_is_killed_hold_all_that_has_left(memory, whole, moment, first):
    assert all_die(memory, moment, range(first, whole + 1, 6)) >= {0, 1, 2, 3, 4, 5}


@pytest.mark.slow
@pytest.mark.parametrize("moment", list(Moment))
def test_books_whose_owner_is_killed_at_any_write_hold_all_that_has_left(memory, whole, moment):
    assert all_die(memory, moment, range(1, whole + 1)) == {0, 1, 2, 3, 4, 5}


# Put back ---------------------------------------------------------------------------------------------------------


def snapshots_of(home, monkeypatch):
    """The ledger's files as they were before each of its entries was written, and what had left by then."""
    taken, left = [], []
    ledger = HospitalFolder(home).ledger
    insert = Ledger._insert

    def photograph(self, signed):
        if ledger.parent == self._path.parent:
            files = {path.name: path.read_bytes() for path in ledger.parent.glob(f"{ledger.name}*")}
            taken.append((files, len(left)))
        insert(self, signed)

    monkeypatch.setattr(Ledger, "_insert", photograph)
    play(home, left.append)
    monkeypatch.undo()
    return taken, len(left)


def put_back(folder, files):
    for path in folder.ledger.parent.glob(f"{folder.ledger.name}*"):
        path.unlink()
    for name, content in files.items():
        (folder.ledger.parent / name).write_bytes(content)


def test_every_earlier_state_of_the_ledger_is_refused_in_place_of_the_last(memory, monkeypatch):
    home = memory / "put-back"
    taken, total = snapshots_of(home, monkeypatch)
    assert len(taken) > 12
    for files, left in taken:
        assert left <= total
        put_back(HospitalFolder(home), files)
        for call in (lambda: open_site_ledger(HospitalFolder(home), SITE).__enter__(), lambda: play(home, pytest.fail)):
            with pytest.raises(TamperingError) as caught:
                call()
            assert (caught.value.reason, caught.value.exit_code) == ("ledger-restored", 4)


def test_control_without_notes_earlier_states_pass_that_lack_what_has_left(memory, monkeypatch):
    home = memory / "never-noted"
    monkeypatch.setattr(HospitalLogs, "places", {})
    taken, left = snapshots_of(home, monkeypatch)
    # What took the pictures took the first patch with it.
    passed = 0
    monkeypatch.setattr(HospitalLogs, "places", {})
    # Finds out only that a ledger has no entries at all any more.
    monkeypatch.setattr("training.hospital_logs.require_ledger_kept", lambda *_: None)
    for files, _ in taken:
        put_back(HospitalFolder(home), files)
        with open_site_ledger(HospitalFolder(home), SITE) as ledger:
            passed += sum(run.rounds for name in ledger.account.data_sets for run in ledger.spending(name).runs) < left
    assert passed > 6
