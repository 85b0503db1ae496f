"""Whoever signs a charter, and whoever reads of epsilon, is told what counts as one patient."""

from __future__ import annotations

import msgspec
import pytest

from secagg.charter import TaskChoice
from tests.support.consortium import make_charter, make_identities
from tests.support.hospitals import tabular_spec
from training.draft import task_choice
from training.patient_unit import patient_unit
from training.tasks.spec import IMAGES, TaskSpec

IDENTITIES = make_identities(3)


def unit_of(spec):
    return patient_unit(make_charter(IDENTITIES, task=task_choice(spec)))


def task(kind, **data):
    return TaskSpec.from_settings(kind, msgspec.json.encode({"data": data}))


def test_without_a_patient_column_it_is_each_row():
    unit = unit_of(tabular_spec())
    assert unit.told == "each row: the task names no patient column"
    assert (unit.one, unit.many, unit.whole) == ("row", "rows", "one row at the hospital")


def test_with_one_it_is_all_rows_of_a_name_and_the_column_is_named():
    unit = unit_of(tabular_spec(patient="who"))
    assert unit.told == "all rows at a hospital with one 'who'"
    assert unit.whole == "one patient with all of the patient's rows at the hospital"
    assert unit.premise == "The column 'who' really tells patients apart."


@pytest.mark.parametrize("data", [{}, {"patient": "who"}], ids=["no column", "a column, which no image has"])
def test_of_images_it_is_each_picture_unless_the_archive_names_patients(data):
    unit = unit_of(task(IMAGES, **data))
    assert unit.told == "each picture; where a hospital's archive names patients, all of its pictures with one name"
    assert "who" not in unit.premise


@pytest.mark.parametrize("data", [{}, {"patient": "who"}], ids=["no column", "a column, which the code may not use"])
def test_of_somebodys_own_code_it_is_whoever_the_code_counts_as_one(data):
    unit = unit_of(task("wards.sepsis:task", **data))
    assert unit.told == "whoever the task's own code counts as one"
    assert "row" not in unit.whole


def test_of_what_is_no_task_nothing_is_claimed():
    charter = make_charter(IDENTITIES, task=TaskChoice(kind="no task", settings={}))
    assert patient_unit(charter).told == "not known: the task cannot be used"


def test_a_column_whose_name_would_act_on_a_terminal_is_spelt_out():
    assert "\x1b" not in unit_of(tabular_spec(patient="\x1b[2J")).told
