"""Nobody is both in training and held back in one run, in whatever state of the data; where it may be, it counts."""

from __future__ import annotations

import pytest

from dp.accounting import epsilon_rdp
from dp.events import GaussianEvent
from dp.ledger import Account, Budget, Cost, Ledger, PatientList
from dp.ledger.account import patients_folder
from dp.ledger.sides import Placed, RunSides
from dp.ledger.spending import cost_epsilon, costs_epsilon, in_all
from secagg.errors import TamperingError
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


def placed(*words: str) -> list[Placed]:
    """Who is in upper case is held back; each has the word as its identity, and is known by its last letter."""
    return [Placed(digest(word), digest(word.lower()[-1]), word.isupper()) for word in words]


@pytest.fixture
def ledger(tmp_path):
    with Ledger(tmp_path / "ledger.sqlite", Identity.from_seed(bytes(32))) as ledger:
        yield ledger


@pytest.fixture
def sides(ledger, tmp_path):
    return RunSides(tmp_path / "sides.json", ledger.account, RUN)


@pytest.fixture
def charge(ledger, sides):
    """Charges a run on a state of the data, whose patients' sides are kept first; its name."""

    def charge(*words: str, cost: Cost = TRAINED, run: str = RUN) -> str:
        data_set = ledger.enrol(people(*(word.lower() for word in words)))
        if run == RUN:
            sides.keep(data_set, placed(*words))
        ledger.charge(data_set, run, 1, cost, Budget(100.0, DELTA), "")
        return data_set

    return charge


def test_who_trained_in_one_state_and_was_counted_in_another_has_paid_for_both(ledger, charge, sides):
    charge("ab", "c")
    after = charge("ABD", "c", cost=COUNTED)
    assert not sides.are_one_each
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
    ("before", "now", "moved"),
    [
        pytest.param(["ab", "C"], ["ab", "C"], [], id="nobody changed"),
        pytest.param(["ab", "C"], ["ab", "C", "d", "E"], [], id="others came"),
        pytest.param(["ab", "C"], ["ab"], [], id="somebody went"),
        pytest.param(["ab", "C"], ["dab", "C"], [], id="a row more, on the same side"),
        pytest.param(["ab", "C"], ["DAB", "C"], ["DAB"], id="a row more, now held back"),
        pytest.param(["ab", "C"], ["ab", "dc"], ["dc"], id="a row more, now in training"),
        pytest.param(["ab"], ["ab", "DB"], [], id="somebody else with an equal row, beside the first"),
        pytest.param(["ab", "CB"], ["db", "CB"], [], id="one of two with an equal row changed, on its side"),
        pytest.param(["ab", "CB"], ["DB", "CB"], ["DB"], id="one of two with an equal row changed sides"),
    ],
)
def test_who_has_moved_is_who_has_gone_from_one_side_and_is_new_on_the_other(ledger, charge, sides, before, now, moved):
    charge(*before)
    ledger.enrol(people(*(word.lower() for word in now)))
    assert sides.moved(placed(*now)) == {digest(word) for word in moved}
    charge(*now)
    assert sides.are_one_each == (not moved)


def test_who_was_never_charged_and_who_was_in_another_run_has_not_moved(ledger, charge, sides):
    sides.keep(ledger.enrol(people("ab")), placed("ab"))
    charge("cd", run=OTHER_RUN)
    ledger.enrol(people("abe", "cdf"))
    assert not sides.moved(placed("ABE", "CDF"))


def test_one_who_is_found_to_be_two_of_earlier_states_was_on_both_sides(ledger, charge, sides):
    charge("a")
    charge("B")
    assert sides.are_one_each
    ledger.enrol(people("ab"))
    assert not sides.are_one_each
    assert sides.moved(placed("ab")) == {digest("ab")}


def test_sides_are_known_to_the_next_process(ledger, charge, sides, tmp_path):
    charge("ab", "C")
    ledger.enrol(people("abd", "c"))
    again = RunSides(tmp_path / "sides.json", ledger.account, RUN)
    assert again.moved(placed("ABD", "C")) == {digest("ABD")}


def test_where_sides_were_lost_anybody_in_two_states_may_have_been_on_both(ledger, charge, sides, tmp_path):
    before = charge("ab", "C")
    (tmp_path / "sides.json").unlink()
    lost = RunSides(tmp_path / "sides.json", ledger.account, RUN)
    assert lost.are_one_each
    assert lost.are_known_beside(before)
    now = charge("ab", "C", "d")
    lost.keep(now, placed("ab", "C", "d"))
    assert not lost.are_one_each
    assert not lost.are_known_beside(now)
    assert sides.are_one_each


def test_where_any_list_of_patients_is_missing_too(ledger, charge, sides, tmp_path):
    charge("ab", "C")
    now = charge("ab", "C", "d")
    third = charge("e", run=OTHER_RUN)
    assert sides.are_one_each
    patients_folder(tmp_path / "ledger.sqlite").joinpath(f"{third}.bin").unlink()
    account = Account.load(ledger.entries, patients_folder(tmp_path / "ledger.sqlite"))
    without = RunSides(tmp_path / "sides.json", account, RUN)
    assert not without.are_one_each
    assert not without.are_known_beside(now)


def test_a_damaged_file_of_sides_is_refused(ledger, tmp_path):
    (tmp_path / "sides.json").write_bytes(b'{"a": [1]}')
    with pytest.raises(TamperingError) as caught:
        RunSides(tmp_path / "sides.json", ledger.account, RUN)
    assert caught.value.reason == "patients-altered"
