"""Kill -9 at every kind of write: the run is taken up again, ends, and no ledger says less than was spent."""

from __future__ import annotations

import shutil
import signal
import sqlite3
from contextlib import closing

import msgspec
import pytest

from dp.ledger import Kind
from dp.ledger.entries import LEDGER
from secagg.charter.folder import read_verified
from secagg.identity import Identity
from secagg.release import verify_release
from secagg.signed_log import read_log
from tests.faults.driver import IN_USE, charge_after_sending, run_in_a_process
from tests.support.hospitals import (
    BOUNDED,
    Ward,
    choices_of,
    settings_for,
    tabular_spec,
    training_of,
    write_tables,
)
from tests.support.thinning import thinned
from training.hospital import Hospital
from training.privacy_plan import privacy_plan
from training.simulation import Observer, run
from training.simulation_folder import prepare

HOSPITALS = 3
ROUNDS = 2
# A budget for more rounds than the charter asks for: a round that a kill cut off has been paid for.
CHOICES = choices_of(
    training_of(rounds=ROUNDS, local_steps=1), privacy="local", epsilon=4.0, sampling_rate=0.5, max_colluding=0
)
SCHEMES = ("mask", "double-lock", "bfv", "ckks")


@pytest.fixture(scope="module")
def laid_out(tmp_path_factory):
    """A run of each scheme that has not begun."""
    folder = tmp_path_factory.mktemp("faults")
    tables = write_tables(folder / "data", HOSPITALS, rows=10)
    for scheme in SCHEMES:
        choices = msgspec.structs.replace(CHOICES, scheme=scheme)
        prepare(folder / scheme, settings_for(tables, choices, tabular_spec(**BOUNDED)))
        for path in (folder / scheme).glob("hospitals/*/policy.toml"):
            path.write_text(path.read_text().replace("maximum_epsilon = 4.0", "maximum_epsilon = 20.0"))
    return folder


@pytest.fixture
def scheme():
    return "mask"


@pytest.fixture
def folder(laid_out, scheme, tmp_path):
    shutil.copytree(laid_out / scheme, tmp_path / "run")
    return tmp_path / "run"


def masked_rounds(folder, name):
    """The newest round of which this hospital's latch says that a masked vector may have left."""
    with closing(sqlite3.connect(folder / "hospitals" / name / "latch.sqlite")) as database:
        row = database.execute("SELECT max(round) FROM latch").fetchone()
    return row[0] or 0


def charged(folder, name):
    home = folder / "hospitals" / name
    entries = read_log(home / "ledger.sqlite", Identity.load(home / "identity.pem").public_key, LEDGER)
    return [entry.round for entry in entries if entry.kind is Kind.CHARGE]


def names(folder):
    return [member.name for member in read_verified(folder / "charter").charter.members]


def assert_nothing_is_spent_off_the_books(folder):
    """Whatever may have left a hospital is in its ledger."""
    for name in names(folder):
        if (folder / "hospitals" / name / "latch.sqlite").exists():
            assert masked_rounds(folder, name) <= max(charged(folder, name), default=0)


def assert_finished(folder):
    assert_nothing_is_spent_off_the_books(folder)
    release = verify_release(folder / "release").statement.predicate
    plan = privacy_plan(read_verified(folder / "charter").charter)
    for name in names(folder):
        assert release.rounds >= len(charged(folder, name)) >= ROUNDS
        assert release.privacy.epsilon >= plan.epsilon_after(len(charged(folder, name)))
    with Ward.open(folder) as ward:
        assert ward.sums == [ROUNDS] * HOSPITALS
        assert len(ward.models) == 1


KILLS = [
    ("latch-epoch", 2, "before"),
    ("latch-masked", 2, "before"),
    ("latch-masked", 4, "after"),
    ("latch-revealed", 1, "after"),
    ("ledger", 2, "before"),
    ("ledger", 5, "after"),
    ("ledger", 9, "after"),
    ("egress", 5, "before"),
    ("egress", 12, "after"),
    ("egress", 20, "before"),
    ("state", 2, "before"),
    ("state", 3, "after"),
    ("state", 8, "after"),
    ("coordinator", 3, "before"),
    ("coordinator", 5, "after"),
    ("kept-sum", 1, "before"),
    ("kept-sum", 2, "after"),
    ("round", 1, "before"),
    ("round", 2, "after"),
]


@pytest.mark.parametrize(("point", "count", "moment"), thinned(KILLS, 9))
def test_a_run_killed_at_a_write_ends_when_taken_up_again(folder, point, count, moment):
    assert run_in_a_process(folder, point, count, moment) == -signal.SIGKILL
    assert_nothing_is_spent_off_the_books(folder)
    run(folder, Observer())
    assert_finished(folder)


ENCRYPTED_KILLS = [
    ("latch-epoch", 2, "before"),
    ("latch-masked", 2, "after"),
    ("latch-masked", 4, "after"),
    ("ledger", 5, "after"),
    ("egress", 12, "after"),
    ("state", 3, "after"),
    ("state", 4, "after"),
    ("state", 5, "after"),
    ("coordinator", 5, "after"),
]


# Of ckks, which is bfv but for the numbers, those where a sum is lost and where it is taken.
KILLS_OF_CKKS = [("latch-masked", 4, "after"), ("state", 4, "after")]


ALL_ENCRYPTED_KILLS = [
    *((scheme, *kill) for scheme in ("double-lock", "bfv") for kill in ENCRYPTED_KILLS),
    *(("ckks", *kill) for kill in KILLS_OF_CKKS),
]


@pytest.mark.parametrize(("scheme", "point", "count", "moment"), thinned(ALL_ENCRYPTED_KILLS, 8))
def test_so_does_one_whose_sums_the_coordinator_cannot_send_again(folder, point, count, moment):
    assert run_in_a_process(folder, point, count, moment) == -signal.SIGKILL
    assert_nothing_is_spent_off_the_books(folder)
    run(folder, Observer())
    assert_finished(folder)


def test_a_run_killed_again_and_again_ends_at_last(folder):
    for point, count, moment in [("ledger", 4, "after"), ("coordinator", 4, "after"), ("state", 1, "after")]:
        assert run_in_a_process(folder, point, count, moment) == -signal.SIGKILL
        assert_nothing_is_spent_off_the_books(folder)
    run(folder, Observer())
    assert_finished(folder)


def test_control_a_hospital_that_charged_after_sending_would_be_caught(folder):
    """In the second round, by the one that is killed then: the others have paid for what may have left them."""
    assert run_in_a_process(folder, "latch-masked", HOSPITALS + 1, "after", charge_after_sending) == -signal.SIGKILL
    assert [(masked_rounds(folder, name), charged(folder, name)) for name in names(folder)] == [
        (2, [1]),
        (1, [1]),
        (1, [1]),
    ]
    with pytest.raises(AssertionError):
        assert_nothing_is_spent_off_the_books(folder)


def test_no_two_processes_run_one_hospital(folder):
    with Ward.open(folder) as ward:
        assert isinstance(ward.hospitals[1], Hospital)
        assert run_in_a_process(folder) == IN_USE
    assert run_in_a_process(folder) == 0
