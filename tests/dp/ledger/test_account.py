"""What a patient has spent goes with the patient: into every data set that it is in, whatever that is called."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dp.accounting import epsilon_of_runs
from dp.events import GaussianEvent
from dp.ledger import Account, Budget, Cost, Entry, Kind, Ledger, PatientList
from dp.ledger.account import patients_folder
from dp.ledger.entries import LEDGER
from dp.ledger.export import export_ledger, read_export
from dp.ledger.spending import cost_epsilon, costs_epsilon, in_all
from secagg.errors import RefusedError, TamperingError
from secagg.identity import Identity
from secagg.signed_log import FIRST_PREVIOUS, read_log

DELTA = 1e-5
SITE, FORMER = Identity.from_seed(bytes(range(32))), Identity.from_seed(bytes(32))
BUDGET = Budget(epsilon=3.0, delta=DELTA)
RUN, OTHER_RUN = "1" * 64, "2" * 64


def people(*numbers: int) -> PatientList:
    return named(*([number] for number in numbers))


def named(*patients: Sequence[int]) -> PatientList:
    """Each patient with the digests that it is recognised by."""
    return PatientList.of([[number.to_bytes(16, "big") for number in numbers] for numbers in patients])


def rounds(count: int) -> Cost:
    return Cost((GaussianEvent(1.5, 0.1, 5 * count),), (GaussianEvent(40.0, 1.0, count),))


def cost(count: int) -> float:
    return cost_epsilon(rounds(count), DELTA)


def composed(*counts: int) -> float:
    """What these runs cost somebody who is in all of them, in training or in validation."""
    return epsilon_of_runs([(rounds(count).training, rounds(count).metrics) for count in counts], DELTA)


@pytest.fixture
def ledger(tmp_path):
    with Ledger(tmp_path / "ledger.sqlite", SITE) as ledger:
        yield ledger


def spend(ledger: Ledger, patients: PatientList, count: int, run: str = RUN, budget: Budget = BUDGET) -> str:
    data_set = ledger.enrol(patients)
    ledger.charge(data_set, run, 1, rounds(count), budget, "")
    return data_set


def spent(ledger: Ledger, patients: PatientList) -> float:
    return ledger.spending(ledger.enrol(patients)).epsilon(DELTA)


WHOLE = people(*range(20))


@pytest.mark.parametrize(
    "others",
    [
        pytest.param(people(*range(5)), id="a part"),
        pytest.param(people(*range(40)), id="with others"),
        pytest.param(people(19, *range(50, 60)), id="one patient in common"),
    ],
)
def test_who_has_spent_has_spent_in_another_data_set_too(ledger, others):
    spend(ledger, WHOLE, 4)
    assert spent(ledger, others) == spent(ledger, WHOLE) == cost(4)


def test_what_others_spend_later_counts_for_the_first_data_set_too(ledger):
    spend(ledger, WHOLE, 4)
    spend(ledger, people(3, 77), 2, OTHER_RUN)
    assert spent(ledger, WHOLE) == composed(4, 2)


def test_strangers_spend_for_themselves(ledger):
    spend(ledger, WHOLE, 4)
    assert spent(ledger, people(*range(20, 40))) == 0


def test_the_patient_who_has_spent_most_counts_and_not_all_of_them_together(ledger):
    spend(ledger, people(1, 2), 4)
    spend(ledger, people(3, 4), 3, OTHER_RUN)
    assert spent(ledger, people(1, 3)) == cost(4)
    assert spent(ledger, people(4)) == cost(3)
    spend(ledger, people(2, 3), 1, "3" * 64)
    assert spent(ledger, people(1, 2, 3, 4)) == pytest.approx(max(composed(4, 1), composed(3, 1)))


def test_one_charter_on_two_data_sets_of_one_patient_counts_twice(ledger):
    spend(ledger, people(1, 2), 3)
    spend(ledger, people(1, 9), 3)
    assert spent(ledger, people(1)) == composed(3, 3)


def test_a_budget_that_is_spent_is_spent_for_every_data_set_with_such_a_patient(ledger):
    most = max(count for count in range(1, 200) if cost(count) <= BUDGET.epsilon)
    spend(ledger, WHOLE, most)
    part, strangers = ledger.enrol(people(7, 99)), ledger.enrol(people(99, 100))
    before = ledger.head
    with pytest.raises(RefusedError) as caught:
        ledger.reserve(part, OTHER_RUN, rounds(1), BUDGET, "")
    assert (caught.value.reason, ledger.head) == ("budget-exceeded", before)
    ledger.reserve(strangers, OTHER_RUN, rounds(1), BUDGET, "")


def test_control_a_ledger_that_knows_data_sets_by_name_only_would_spend_it_again(ledger):
    """Without the lists, or with each patient in one data set only, the same patients have a second budget."""
    spend(ledger, WHOLE, 4)
    lists = {WHOLE.data_set: WHOLE, "b" * 64: people(999)}
    assert Account(ledger.entries, lists).spending("b" * 64).epsilon(DELTA) == 0


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.sets(st.integers(0, 5), min_size=1), st.integers(1, 4)), min_size=1, max_size=5))
def test_it_is_the_largest_sum_of_any_patient(runs):
    lists, entries = {}, []
    for number, (members, count) in enumerate(runs):
        lists[members_name(members)] = people(*members)
        entries.append(
            Entry(
                sequence=number + 1,
                kind=Kind.CHARGE,
                data_set=members_name(members),
                run=f"{number:064x}",
                cost=rounds(count),
                delta=DELTA,
                time="",
                previous=FIRST_PREVIOUS,
                salt="0" * 32,
            )
        )
    account = Account(entries, lists)
    for name, patients in lists.items():
        each = [
            composed(*(count for members, count in runs if int.from_bytes(digest, "big") in members))
            for (digest,) in patients.patients
        ]
        assert account.spending(name).epsilon(DELTA) == pytest.approx(max(each))


def members_name(members: set[int]) -> str:
    return people(*members).data_set


# Without a list ---------------------------------------------------------------------------------------------------


def imported(ledger: Ledger, data_set: str, count: int, folder: Path) -> None:
    """What an earlier key's ledger spent of a data set by that name."""
    with Ledger(folder / "former.sqlite", FORMER) as former:
        former.charge(data_set, OTHER_RUN, 1, rounds(count), BUDGET, "")
        former.close_run(data_set, OTHER_RUN, DELTA, "")
    file = folder / "former.json"
    file.write_bytes(export_ledger(folder / "former.sqlite", FORMER))
    ledger.take_over(read_export(file, FORMER.public_key))


def test_a_data_set_whose_patients_nobody_knows_counts_with_every_other(ledger, tmp_path):
    data_set = spend(ledger, WHOLE, 4)
    imported(ledger, "f" * 64, 2, tmp_path)
    (other,) = set(ledger.account.data_sets) - {data_set}
    assert ledger.spending(data_set).epsilon(DELTA) == composed(4, 2)
    assert ledger.spending(other).epsilon(DELTA) == composed(4, 2)
    assert spent(ledger, people(1000)) == cost(2)
    assert ledger.account.overlaps(data_set) == {other: None}


@pytest.fixture
def closed(tmp_path):
    """The file of a ledger in which `WHOLE` has spent four rounds, and that of the list."""
    path = tmp_path / "closed" / "ledger.sqlite"
    with Ledger(path, SITE) as ledger:
        spend(ledger, WHOLE, 4)
    (patients,) = patients_folder(path).iterdir()
    return path, patients


def test_a_list_that_is_removed_frees_nobody(closed):
    path, patients = closed
    patients.unlink()
    with Ledger(path, SITE) as again:
        assert spent(again, people(1000)) == cost(4)
        # Whoever has the records has the list again.
        again.enrol(WHOLE)
        assert spent(again, people(1000)) == 0


def test_a_list_from_which_nothing_could_be_spent_is_read_again_and_makes_others_one(tmp_path):
    path = tmp_path / "refused" / "ledger.sqlite"
    with Ledger(path, SITE) as ledger:
        spend(ledger, ROW_ONLY, 4)
        spend(ledger, NAME_ONLY, 2, OTHER_RUN)
        assert spent(ledger, NAME_ONLY) == cost(2)
        with pytest.raises(RefusedError):
            ledger.reserve(ledger.enrol(BOTH), "3" * 64, rounds(50), BUDGET, "")
        assert spent(ledger, NAME_ONLY) == composed(4, 2)
    with Ledger(path, SITE) as again:
        assert spent(again, NAME_ONLY) == composed(4, 2)
        assert again.account.data_sets == (ROW_ONLY.data_set, NAME_ONLY.data_set)
    # It is checked like every other, by its name.
    (patients_folder(path) / f"{BOTH.data_set}.bin").write_bytes(WHOLE.encode())
    with pytest.raises(TamperingError) as caught:
        Ledger(path, SITE)
    assert caught.value.reason == "patients-altered"
    # Files with other names are none.
    (patients_folder(path) / f"{BOTH.data_set}.bin").rename(patients_folder(path) / "note.bin")
    with Ledger(path, SITE) as again:
        assert spent(again, NAME_ONLY) == cost(2)


ROW_ONLY, BOTH, NAME_ONLY = named([1]), named([1, 2]), named([2])
"""One patient in three data sets: by a row, by row and name, and by the name."""


@pytest.fixture
def linked(tmp_path):
    """The file of a ledger in which `ROW_ONLY` and `NAME_ONLY` are one patient by the list of `BOTH` alone."""
    path = tmp_path / "linked" / "ledger.sqlite"
    with Ledger(path, SITE) as ledger:
        spend(ledger, ROW_ONLY, 4)
        spend(ledger, BOTH, 1, OTHER_RUN)
        spend(ledger, NAME_ONLY, 2, "3" * 64)
        assert spent(ledger, NAME_ONLY) == composed(4, 1, 2)
    return path


def read_account(path: Path) -> Account:
    """Of a ledger as it is written, its lock not taken."""
    return Account.load(read_log(path, SITE.public_key, LEDGER), patients_folder(path))


def without(path: Path, *lists: PatientList) -> None:
    for patients in lists:
        (patients_folder(path) / f"{patients.data_set}.bin").unlink()


@pytest.mark.parametrize("told", [False, True], ids=["by the lists", "by what is told of them"])
def test_a_list_that_is_removed_parts_nobody_whom_it_made_one(linked, told):
    without(linked, BOTH)
    account = read_account(linked)
    if told:
        account = Account.of_groups(read_log(linked, SITE.public_key, LEDGER), account.groups)
    for patients in (ROW_ONLY, BOTH, NAME_ONLY):
        name = patients.data_set
        assert account.spending(name).epsilon(DELTA) == composed(4, 1, 2)
        assert account.overlaps(name) == dict.fromkeys(set(account.data_sets) - {name})
        assert account.rounds_on(name, RUN) == 1
    # Whoever never met any of them may have by the list that is gone.
    with Ledger(linked, SITE) as again:
        assert spent(again, people(1000)) == composed(4, 1, 2)
        again.enrol(BOTH)
        assert spent(again, people(1000)) == 0
        assert spent(again, NAME_ONLY) == composed(4, 1, 2)


def test_control_where_a_missing_list_only_adds_its_own_runs_the_others_are_strangers_again(linked, monkeypatch):
    monkeypatch.setattr(Account, "_lacks_a_list", False)
    without(linked, BOTH)
    with Ledger(linked, SITE) as again:
        assert spent(again, NAME_ONLY) == composed(1, 2)


def test_the_largest_delta_is_that_of_all_where_a_list_is_gone(linked):
    with Ledger(linked, SITE) as ledger:
        spend(ledger, ROW_ONLY, 1, "4" * 64, Budget(50.0, 1e-3))
    without(linked, BOTH)
    assert read_account(linked).delta(NAME_ONLY.data_set) == 1e-3


def test_a_ledger_that_is_brought_back_without_its_lists_counts_all_as_one_until_each_is_there(linked, tmp_path):
    file = tmp_path / "export.json"
    file.write_bytes(export_ledger(linked, SITE))
    with Ledger(tmp_path / "new" / "ledger.sqlite", SITE) as new:
        new.take_over(read_export(file, SITE.public_key))
        for patients in (ROW_ONLY, NAME_ONLY):
            assert spent(new, patients) == composed(4, 1, 2)
        assert spent(new, people(1000)) == composed(4, 1, 2)
        new.enrol(BOTH)
        assert spent(new, people(1000)) == 0
        assert spent(new, NAME_ONLY) == composed(4, 1, 2)


@pytest.fixture
def beside_a_copy(tmp_path):
    """The file of a ledger, and an export of a copy by whose list alone two patients of two lists here are one."""
    path, copy = (tmp_path / name / "ledger.sqlite" for name in ("here", "copy"))
    with Ledger(path, SITE) as ledger:
        spend(ledger, ROW_ONLY, 4)
        spend(ledger, NAME_ONLY, 2, "3" * 64)
    shutil.copytree(path.parent, copy.parent)
    with Ledger(path, SITE) as ledger:
        spend(ledger, people(500), 1, "4" * 64)
    with Ledger(copy, SITE) as ledger:
        spend(ledger, BOTH, 1, OTHER_RUN)
    file = tmp_path / "export.json"
    file.write_bytes(export_ledger(copy, SITE))
    return path, read_export(file, SITE.public_key)


def test_what_a_copy_spent_by_a_list_that_is_not_here_counts_all_as_one_until_it_is(beside_a_copy):
    path, export = beside_a_copy
    with Ledger(path, SITE) as ledger:
        assert ledger.take_over(export) == 2
        for patients in (ROW_ONLY, NAME_ONLY, people(1000)):
            assert spent(ledger, patients) == composed(4, 2, 1, 1)
        ledger.enrol(BOTH)
        assert spent(ledger, people(1000)) == 0
        assert spent(ledger, NAME_ONLY) == pytest.approx(composed(4, 2, 1))


def test_control_where_a_copys_list_only_adds_its_own_runs_those_whom_it_made_one_are_strangers(
    beside_a_copy, monkeypatch
):
    monkeypatch.setattr(Account, "_lacks_a_list", False)
    path, export = beside_a_copy
    with Ledger(path, SITE) as ledger:
        ledger.take_over(export)
        assert spent(ledger, NAME_ONLY) == composed(2, 1)


def test_under_a_new_key_all_that_an_earlier_one_spent_counts_with_every_data_set(linked, tmp_path):
    """Its data sets have other names and digests here, and their lists can never be."""
    file = tmp_path / "export.json"
    file.write_bytes(export_ledger(linked, SITE))
    with Ledger(tmp_path / "new" / "ledger.sqlite", FORMER) as new:
        new.take_over(read_export(file, SITE.public_key))
        spend(new, people(500), 1)
        assert spent(new, people(500)) == composed(4, 1, 2, 1)
        # What is spent from now on is known apart: by the new lists.
        assert spent(new, people(1000)) == composed(4, 1, 2)


def test_a_list_in_place_of_another_is_found(closed):
    path, patients = closed
    patients.write_bytes(people(500).encode())
    for call in (lambda: Ledger(path, SITE), lambda: Ledger(path, SITE), lambda: read_account(path)):
        with pytest.raises(TamperingError) as caught:
            call()
        assert (caught.value.reason, caught.value.exit_code) == ("patients-altered", 4)
    patients.write_bytes(WHOLE.encode())
    with Ledger(path, SITE) as again:
        assert spent(again, WHOLE) == cost(4)


# What is told ---------------------------------------------------------------------------------------------------


def test_who_shares_how_many_patients_with_whom_is_told(ledger):
    names = [spend(ledger, patients, 1) for patients in (WHOLE, people(18, 19, 20), people(20, 30))]
    account = ledger.account
    assert account.data_sets == tuple(names)
    assert [account.patients(name) for name in names] == [20, 3, 2]
    assert account.overlaps(names[0]) == {names[1]: 2}
    assert account.overlaps(names[1]) == {names[0]: 2, names[2]: 1}


def test_a_runs_rounds_are_counted_over_all_data_sets_with_such_patients(ledger):
    names = [spend(ledger, patients, 1) for patients in (people(1, 2), people(2, 3), people(3, 4))]
    spend(ledger, people(1, 2), 1, OTHER_RUN)
    assert [ledger.account.rounds_on(name, RUN) for name in names] == [2, 3, 2]
    assert ledger.account.rounds_on(names[0], OTHER_RUN) == 1
    assert ledger.account.rounds_on(ledger.enrol(people(9)), RUN) == 0


def test_the_newest_round_of_a_run_is_the_highest_number_on_any_data_set_whichever_was_written_last(ledger):
    assert ledger.account.newest_round(RUN) == 0
    for patients, number in ((people(1, 2), 5), (people(1, 2), 3), (people(7), 2), (people(8), 4)):
        ledger.charge(ledger.enrol(patients), RUN, number, rounds(1), Budget(50.0, DELTA), "")
    ledger.charge(ledger.enrol(people(1, 2)), OTHER_RUN, 9, rounds(1), Budget(50.0, DELTA), "")
    assert ledger.account.newest_round(RUN) == 5


def test_all_rounds_of_a_run_are_counted_and_what_they_cost_whoever_is_in_the_data_set_of_now(ledger):
    spend(ledger, people(1, 2), 3)
    spend(ledger, people(7), 1)
    spend(ledger, people(1, 2), 1, OTHER_RUN)
    ledger.enrol(people(9))
    assert (ledger.account.rounds(RUN), ledger.account.rounds(OTHER_RUN)) == (2, 1)
    assert {costs_epsilon(charged, DELTA) for charged in ledger.account.charged(RUN)} == {cost(3), cost(1)}


def test_enrolling_alone_spends_nothing_and_is_no_entry(ledger):
    ledger.enrol(WHOLE)
    assert ledger.entries == ()
    assert ledger.account.data_sets == ()


@pytest.mark.parametrize("count", [1, 3])
def test_the_largest_delta_of_those_who_share_patients_is_the_one_to_state(ledger, count):
    for number, delta in itertools.islice(enumerate([1e-5, 1e-4, 1e-3]), count):
        spend(ledger, people(number, number + 1), 1, budget=Budget(50.0, delta))
    assert ledger.account.delta(people(0, 1).data_set) == [1e-5, 1e-4, 1e-4][count - 1]


def test_a_smaller_delta_later_makes_the_one_to_state_no_smaller(ledger):
    for delta in (1e-3, 1e-5):
        spend(ledger, WHOLE, 1, budget=Budget(50.0, delta))
    assert ledger.account.delta(WHOLE.data_set) == 1e-3


@pytest.mark.parametrize("other", [WHOLE, people(19, 50)], ids=["its own", "of some of the same patients"])
def test_rounds_without_privacy_do_not_make_the_epsilon_of_those_with_it_smaller(ledger, other):
    data_set = spend(ledger, WHOLE, 4)
    before = ledger.account.delta(data_set)
    ledger.note_unprotected(ledger.enrol(other), OTHER_RUN, 1, 1e-2, "")
    ledger.close_run(other.data_set, OTHER_RUN, 1e-2, "")
    assert ledger.account.delta(data_set) == before == DELTA


def test_where_nothing_else_was_done_the_delta_is_that_of_rounds_without_privacy(ledger):
    data_set = ledger.enrol(WHOLE)
    assert ledger.account.delta(data_set) == 0
    ledger.note_unprotected(data_set, OTHER_RUN, 1, 1e-2, "")
    ledger.release_run(data_set, OTHER_RUN, "")
    assert ledger.account.delta(data_set) == 1e-2


def test_who_is_in_what_can_be_told_without_the_lists_and_comes_to_the_same(ledger, tmp_path):
    lists = [people(*range(20)), people(*range(15, 30)), people(*range(40, 50))]
    names = [spend(ledger, patients, count) for count, patients in enumerate(lists, start=1)]
    known = ledger.account
    told = Account.of_groups(ledger.entries, known.groups)
    assert told.data_sets == known.data_sets == tuple(names)
    for name in names:
        assert told.patients(name) == known.patients(name)
        assert told.overlaps(name) == known.overlaps(name)
        assert told.spending(name).epsilon(DELTA) == known.spending(name).epsilon(DELTA)
    # Of a data set that is in no group, nobody knows who is in it.
    blind = Account.of_groups(ledger.entries, {})
    assert [blind.patients(name) for name in names] == [None, None, None]
    assert blind.spending(names[2]).epsilon(DELTA) == pytest.approx(composed(1, 2, 3))


def test_what_a_run_charged_an_earlier_state_of_the_file_is_in_what_it_has_charged_its_patients(ledger):
    before, after, strangers = people(1, 2, 3), people(1, 2, 3, 4), people(5, 6)
    spend(ledger, before, 2)
    spend(ledger, before, 1, OTHER_RUN)
    spend(ledger, strangers, 4)
    name = spend(ledger, after, 1)
    charged = ledger.spending(name).charged(RUN)
    assert max(in_all(costs).training[0].steps for costs in charged) == 5 * 3
    assert ledger.spending(name).run(RUN).charged == rounds(1)


def test_a_run_keeps_its_patients_while_nobody_joins_those_whom_it_began_with(ledger):
    for patients, keeps in ((people(1, 2, 3), True), (people(1, 2), True), (people(1, 2, 4), False)):
        spend(ledger, patients, 1, budget=Budget(50.0, DELTA))
        assert ledger.account.keeps_its_patients(RUN) == keeps
    assert ledger.account.keeps_its_patients(OTHER_RUN)


def test_where_a_list_is_missing_nobody_knows_that_a_run_keeps_its_patients(tmp_path):
    with Ledger(tmp_path / "ledger.sqlite", SITE) as ledger:
        for patients in (people(1, 2, 3), people(1, 2)):
            spend(ledger, patients, 1, budget=Budget(50.0, DELTA))
    without(tmp_path / "ledger.sqlite", people(1, 2))
    assert not read_account(tmp_path / "ledger.sqlite").keeps_its_patients(RUN)


def test_of_a_run_on_two_files_each_patient_has_paid_for_the_files_it_was_in(ledger):
    spend(ledger, people(1, 2), 2)
    spend(ledger, people(3, 4), 1)
    name = spend(ledger, people(1, 3), 1)
    steps = [in_all(costs).training[0].steps for costs in ledger.spending(name).charged(RUN)]
    assert sorted(steps) == [5 * 2, 5 * 3]
