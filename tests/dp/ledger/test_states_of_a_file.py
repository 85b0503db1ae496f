"""A run that was charged on several states of a file: who may have been in training and held back has paid for both."""

from __future__ import annotations

import pytest

from dp.accounting import epsilon_rdp
from dp.events import GaussianEvent
from dp.ledger import Account, Budget, Cost, Ledger, PatientList
from dp.ledger.account import patients_folder
from dp.ledger.spending import cost_epsilon, costs_epsilon, in_all
from secagg.identity import Identity

DELTA = 1e-5
RUN, OTHER_RUN = "1" * 64, "2" * 64
STEP, COUNTS = GaussianEvent(1.5, 0.1, 1), GaussianEvent(1.2, 1.0, 1)
TRAINED, COUNTED = Cost((GaussianEvent(1.5, 0.1, 99),)), Cost((STEP,), (COUNTS,))


def digest(name: str) -> bytes:
    return name.encode().rjust(16)


def people(*known_by: str) -> PatientList:
    """Each known by all letters of a word."""
    return PatientList.of([[digest(letter) for letter in word] for word in known_by])


@pytest.fixture
def ledger(tmp_path):
    with Ledger(tmp_path / "ledger.sqlite", Identity.from_seed(bytes(32))) as ledger:
        yield ledger


@pytest.fixture
def charge(ledger):
    """Charges a run on a state of the data; its name."""

    def charge(*words: str, cost: Cost = TRAINED, run: str = RUN) -> str:
        data_set = ledger.enrol(people(*words))
        ledger.charge(data_set, run, 1, cost, Budget(100.0, DELTA), "")
        return data_set

    return charge


def test_who_trained_in_one_state_and_was_counted_in_another_has_paid_for_both(ledger, charge):
    charge("ab", "c")
    after = charge("abd", "c", cost=COUNTED)
    assert not ledger.account.keeps_its_patients(RUN)
    truth = epsilon_rdp([*TRAINED.training, COUNTS], DELTA)
    assert max(costs_epsilon(costs, DELTA) for costs in ledger.account.charged(RUN)) >= truth
    whole = in_all([TRAINED, COUNTED])
    assert ledger.spending(after).epsilon_at_least(RUN, whole, DELTA) >= truth
    # Control: as if nobody could be on both sides.
    assert cost_epsilon(whole, DELTA) < 0.8 * truth


def test_who_is_in_one_state_only_has_paid_for_that_one(ledger, charge):
    charge("ab")
    charge("c", cost=COUNTED)
    assert ledger.account.charged(RUN) == {(TRAINED,), (COUNTED,)}


def test_what_a_run_cost_beyond_its_charges_on_two_data_sets_is_on_top_of_both(ledger, charge):
    charge("ab", "c")
    after = charge("abd", "c", cost=COUNTED)
    found = ledger.spending(after)
    charged = costs_epsilon([TRAINED, COUNTED], DELTA)
    assert found.epsilon_at_least(RUN, Cost((STEP,)), DELTA) == charged == found.epsilon(DELTA)
    more = Cost((GaussianEvent(1.5, 0.1, 110),), (GaussianEvent(1.2, 1.0, 2),))
    rest = Cost((GaussianEvent(1.5, 0.1, 10),), (COUNTS,))
    assert found.epsilon_at_least(RUN, more, DELTA) == costs_epsilon([TRAINED, COUNTED, rest], DELTA)


@pytest.mark.parametrize(
    ("states", "keeps"),
    [
        pytest.param(["ab c"], True, id="one state"),
        pytest.param(["ab c", "ab"], True, id="somebody went"),
        pytest.param(["ab c", "c", "ab"], True, id="somebody went and came back"),
        pytest.param(["ab c", "ab c d"], False, id="somebody came"),
        pytest.param(["ab c", "abd c"], False, id="a row more"),
        pytest.param(["ab", "ab c", "ab"], False, id="somebody was there for a while"),
    ],
)
def test_a_run_keeps_its_patients_where_it_was_charged_for_nobody_whom_it_did_not_begin_with(
    ledger, charge, states, keeps
):
    first, *_ = [charge(*state.split()) for state in states]
    assert ledger.account.keeps_its_patients(RUN) == keeps
    assert ledger.account.first_charged(RUN) == first


def test_what_was_reserved_alone_and_what_another_run_was_charged_is_not_what_a_run_began_with(ledger, charge):
    ledger.reserve(ledger.enrol(people("ab")), RUN, TRAINED, Budget(100.0, DELTA), "")
    charge("cd", run=OTHER_RUN)
    assert ledger.account.first_charged(RUN) is None
    assert ledger.account.keeps_its_patients(RUN)
    name = charge("e")
    assert ledger.account.first_charged(RUN) == name


def test_where_a_list_is_missing_nobody_knows_whether_it_did(ledger, charge, tmp_path):
    names = charge("ab", "c"), charge("ab")
    for name in names:
        folder = patients_folder(tmp_path / "ledger.sqlite")
        kept = (folder / f"{name}.bin").read_bytes()
        (folder / f"{name}.bin").unlink()
        assert not Account.load(ledger.entries, folder).keeps_its_patients(RUN)
        (folder / f"{name}.bin").write_bytes(kept)
    assert Account.load(ledger.entries, folder).keeps_its_patients(RUN)
