"""A simulation knows everybody's records: it does not call a patient new whom a hospital trained on."""

from __future__ import annotations

import numpy as np
import pytest

from secagg.errors import InputError
from tests.support.hospitals import (
    BOUNDED,
    PRIVATE_CHOICES,
    choices_of,
    settings_for,
    tabular_spec,
    write_table,
    write_tables,
)
from training.simulation import Observer, run
from training.simulation_folder import prepare
from training.sites import DataSource

EVERYBODY = tabular_spec(test_fraction=0.0)
NAMED = tabular_spec(test_fraction=0.0, patient="who")


@pytest.fixture
def tables(tmp_path):
    return write_tables(tmp_path / "data", 3)


@pytest.fixture
def others(tmp_path):
    """Patients that are at no hospital."""
    return write_table(tmp_path / "test.csv", 10, np.random.default_rng(9))


@pytest.fixture
def tested(tmp_path, tables):
    """Prepares a simulation that tests on this file and runs it; the codes of its warnings."""

    def tested(test, spec=EVERYBODY, choices=None):
        source = DataSource(paths=tuple(map(str, tables)), test=str(test))
        prepare(tmp_path / "run", settings_for(tables, choices or choices_of(), spec, source=source))
        return [caution.code for caution in run(tmp_path / "run", Observer()).warnings]

    return tested


def refused(tested, *arguments):
    with pytest.raises(InputError) as caught:
        tested(*arguments)
    assert caught.value.reason == "test-patients-trained-on"
    return caught.value


def rewrite(path, change):
    head, *rows = path.read_text().splitlines()
    path.write_text("\n".join(change(head, rows)) + "\n")


def name(path, names):
    rewrite(path, lambda head, rows: [f"who,{head}", *(f"{name},{row}" for name, row in zip(names, rows, strict=True))])


def test_a_hospitals_own_file_is_refused_and_the_hospital_named(tested, tables, tmp_path):
    error = refused(tested, tables[1])
    assert error.culprit == str(tables[1])
    assert "Of the 24 patients in " in error.message
    assert error.message.endswith("the records of 24 are also those of patients that it is trained on, at h2.")
    assert not (tmp_path / "run").exists()


def test_control_other_patients_are_tested_on_without_a_warning(tested, others):
    assert tested(others) == []


def test_rows_are_recognised_in_another_order_with_other_labels_and_numbers_written_otherwise(tested, tables, tmp_path):
    test = tmp_path / "test.csv"
    test.write_text(tables[0].read_text())

    def disguise(head, rows):
        cells = [row.split(",") for row in rows]
        return ["ill,dose,age", *(f"{1 - int(ill)},{dose}0,{age}00" for age, dose, ill in reversed(cells))]

    rewrite(test, disguise)
    refused(tested, test)


def test_one_row_that_is_the_same_may_be_chance_and_is_told_of(tested, tables, others):
    rewrite(others, lambda head, rows: [head, *rows, tables[2].read_text().splitlines()[1]])
    assert tested(others) == ["test-patients-trained-on"]


def test_rows_that_most_patients_share_tell_nobody_apart_and_refuse_nothing(tested, tables, others):
    """In a table of few coarse columns every row is also somebody else's."""
    for path in (*tables, others):
        rewrite(
            path,
            lambda head, rows: [
                head,
                *(f"{round(number / len(rows))},1,{number % 2}" for number, _ in enumerate(rows)),
            ],
        )
    assert tested(others) == ["test-patients-trained-on"]


def test_one_patient_who_is_named_in_both_is_refused_though_no_row_is_the_same(tested, tables, others):
    for number, path in enumerate(tables):
        name(path, [f"p{number}-{place}" for place in range(20 + 2 * (number + 1))])
    name(others, ["P1-3 ", *(f"new-{place}" for place in range(9))])
    error = refused(tested, others, NAMED)
    assert error.message.endswith("the names of 1 are also those of patients that it is trained on, at h2.")
    assert "names that differ between files" in error.remedy


def name_apart(*paths):
    for number, path in enumerate(paths):
        name(path, [f"p{number}-{place}" for place in range(patients_in(path))])


def patients_in(path):
    return len(path.read_text().splitlines()) - 1


def test_control_two_named_patients_with_the_same_rows_are_two(tested, tables, others):
    rewrite(others, lambda head, rows: [head, *rows, *tables[0].read_text().splitlines()[1:3]])
    name_apart(*tables, others)
    assert tested(others, NAMED) == []


def test_a_whole_file_of_copied_rows_is_told_of_though_its_patients_have_new_names(tested, tables, others):
    others.write_text(tables[0].read_text())
    name_apart(*tables, others)
    assert tested(others, NAMED) == ["test-patients-trained-on"]


def number_from_one(*paths):
    for path in paths:
        name(path, [f"{place}" for place in range(1, 1 + patients_in(path))])


def test_numbers_from_one_at_every_hospital_are_nobodys_names_and_refuse_nothing(tested, tables, others):
    write_table(tables[1], 200, np.random.default_rng(8))
    number_from_one(*tables, others)
    assert tested(others, NAMED) == ["test-patients-trained-on"]


def test_where_hospitals_number_from_one_a_single_row_that_is_the_same_is_told_of(tested, tables, others):
    rewrite(others, lambda head, rows: [head, *rows, tables[2].read_text().splitlines()[1]])
    number_from_one(*tables)
    name(others, [f"new-{place}" for place in range(patients_in(others))])
    assert tested(others, NAMED) == ["test-patients-trained-on"]


def test_where_hospitals_number_from_one_a_file_that_is_trained_on_is_refused_for_its_rows(tested, tables):
    number_from_one(*tables)
    assert "the records of 24 are also those" in refused(tested, tables[1], NAMED).message


def test_a_run_that_began_before_it_was_refused_is_ended_with_the_warning(tested, tables, monkeypatch):
    monkeypatch.setattr("training.simulation_folder.require_untrained", lambda *_: None)
    assert tested(tables[1]) == ["test-patients-trained-on"]


def test_patients_that_hospitals_keep_back_for_nothing_are_told_of(tested, others):
    assert tested(others, tabular_spec(test_fraction=0.25)) == ["unused-patients"]


def test_control_kept_back_for_metrics_they_are_of_use(tested, others):
    assert tested(others, tabular_spec(test_fraction=0.25), choices_of(metrics="exact")) == []


@pytest.fixture
def held_back(tmp_path):
    """Prepares a simulation that tests on whom hospitals hold back and runs it; its warnings."""

    def held_back(tables, **settings):
        prepare(tmp_path / "run", settings_for(tables, choices_of(), tabular_spec(test_fraction=0.25, **settings)))
        return run(tmp_path / "run", Observer()).warnings

    return held_back


def known_to_all(tables):
    """The same named patients in every file, in another order in each."""
    name_apart(tables[0])
    for path in tables[1:]:
        head, *rows = tables[0].read_text().splitlines()
        path.write_text("\n".join([head, *np.random.default_rng(patients_in(path)).permutation(rows)]) + "\n")


def test_patients_whom_one_hospital_holds_back_and_another_trains_on_are_told_of(held_back, tables):
    known_to_all(tables)
    (caution,) = held_back(tables, patient="who", division="stratified")
    assert caution.code == "test-patients-trained-on"
    assert "patients in the hospitals' held-back parts, on whom the model is tested, the names of" in caution.message
    assert 'division = "by-patient"' in caution.remedy


def test_so_are_most_rows_where_nobody_has_a_name(held_back, tables):
    for path in tables[1:]:
        head, *rows = tables[0].read_text().splitlines()
        path.write_text("\n".join([head, *np.random.default_rng(patients_in(path)).permutation(rows)]) + "\n")
    (caution,) = held_back(tables, division="stratified")
    assert "the records of" in caution.message


def answer_yes_or_no(tables):
    """Other patients at every hospital, of whom two yes/no answers are known."""
    random = np.random.default_rng(3)
    for path in tables:
        path.write_text("age,dose,ill\n" + "".join(f"{a},{b},{c}\n" for a, b, c in random.integers(0, 2, (60, 3))))


def test_control_a_few_answers_tell_nobody_apart_and_nothing_is_told_of(held_back, tables):
    answer_yes_or_no(tables)
    assert held_back(tables, division="stratified") == ()


def test_nor_is_it_where_hospitals_number_their_patients_from_one_and_divide_by_patient(held_back, tables):
    answer_yes_or_no(tables)
    number_from_one(*tables)
    assert held_back(tables, patient="who", division="by-patient") == ()


def test_only_hospitals_that_train_on_others_held_back_patients_are_named(held_back, tables):
    """The third has rows of its own, each of them twice."""
    rewrite(tables[1], lambda head, _: [head, *reversed(tables[0].read_text().splitlines()[1:])])
    rewrite(tables[2], lambda head, rows: [head, *rows[:8], *rows[:8]])
    (caution,) = held_back(tables, division="stratified")
    assert caution.message.split(" trained on, ")[1].startswith("at h1, h2. ")


def test_control_divided_by_patient_whoever_is_held_back_is_so_everywhere(held_back, tables):
    known_to_all(tables)
    assert held_back(tables, patient="who", division="by-patient") == ()


@pytest.fixture
def private(tmp_path):
    """Prepares a simulation of these tables under differential privacy and runs it; its warnings."""

    def private(tables, choices=PRIVATE_CHOICES):
        prepare(tmp_path / "run", settings_for(tables, choices, tabular_spec(test_fraction=0.0, **BOUNDED)))
        return run(tmp_path / "run", Observer()).warnings

    return private


def copy_most_rows(tables):
    """The second hospital has patients of the first, and some of its own."""
    rewrite(tables[1], lambda head, rows: [head, *tables[0].read_text().splitlines()[1:16], *rows[:10]])


def test_where_two_hospitals_have_mostly_the_same_patients_it_is_told_that_these_pay_at_both(private, tables):
    copy_most_rows(tables)
    (caution,) = private(tables)
    assert caution.code == "patients-at-two-hospitals"
    assert "mostly the same: h1 and h2. If" in caution.message
    assert "these pay at both" in caution.message


def test_control_of_hospitals_with_their_own_patients_it_is_not(private, tables):
    assert private(tables) == ()


def test_nor_where_nobody_pays(private, tables):
    copy_most_rows(tables)
    assert private(tables, choices_of()) == ()


def test_nor_of_a_few_answers_that_tell_nobody_apart(private, tables):
    answer_yes_or_no(tables)
    assert private(tables) == ()


def test_control_a_few_rows_of_patients_without_names_may_be_alike(held_back, tables):
    for path in tables[1:]:
        rewrite(path, lambda head, rows: [head, *rows, *tables[0].read_text().splitlines()[1:4]])
    assert held_back(tables, division="stratified") == ()
