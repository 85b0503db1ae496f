"""Which records are whose: every way to name places and hospitals, and what is no name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from secagg.errors import InputError
from tests.support.hospitals import tabular_spec, write_tables
from training.sites import DataSource, parse_place, read_sites, read_test
from training.task import build_task
from training.tasks.tabular import TabularTask


@pytest.fixture
def tables(tmp_path):
    return write_tables(tmp_path / "data", 3)


def names_of(*paths, **options):
    sites = read_sites(DataSource(paths=tuple(map(str, paths)), **options), build_task(tabular_spec()))
    return [site.name for site in sites]


def refusal(*paths, **options):
    with pytest.raises(InputError) as caught:
        names_of(*paths, **options)
    return caught.value


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("a.csv", (None, Path("a.csv"))),
        ("one=a.csv", ("one", Path("a.csv"))),
        ("=a.csv", ("", Path("a.csv"))),
        ("one=/data/a=b.csv", ("one", Path("/data/a=b.csv"))),
        ("/data/lr=0.1/a.csv", (None, Path("/data/lr=0.1/a.csv"))),
        ("./a=b.csv", (None, Path("a=b.csv"))),
    ],
)
def test_a_place_is_a_path_perhaps_with_a_name(text, place):
    assert parse_place(text) == place


def test_a_file_is_called_after_the_last_part_of_its_stem_unless_it_is_given_a_name(tables):
    processed = tables[0].rename(tables[0].with_name("processed.cleveland.csv"))
    assert names_of(processed, f"two={tables[1]}", tables[2]) == ["cleveland", "two", "h3"]


def test_a_folder_of_files_is_a_consortium_wherever_it_is(tmp_path):
    assert names_of(write_tables(tmp_path / "lr=0.1/data", 3)[0].parent) == ["h1", "h2", "h3"]


def test_one_file_may_have_a_name_and_is_divided_all_the_same(tables):
    assert names_of(f"all={tables[0]}", split="iid", hospitals=2) == ["hospital-1", "hospital-2"]


@pytest.mark.parametrize("name", ["St. Mary", "Köln", "", "..", "x" * 65])
def test_a_name_that_no_charter_can_hold_is_refused_with_the_file_it_was_for(tables, name):
    error = refusal(f"{name}={tables[0]}", tables[1], tables[2])
    assert (error.reason, error.culprit) == ("bad-name", name)
    assert str(tables[0]) in error.message
    assert "letters" in error.remedy


def test_a_file_whose_stem_is_no_name_is_refused_too(tables):
    error = refusal(tables[0].rename(tables[0].with_name("ward 3.csv")), *tables[1:])
    assert error.culprit == "ward 3"
    assert "--data NAME=PATH" in error.remedy
    assert "letters" in error.remedy


def test_where_the_columns_are_those_of_one_file_another_that_lacks_one_is_told_whose_they_are(tables):
    tables[1].write_text(tables[1].read_text().replace("dose", "Dose"))
    listed = refusal(*tables)
    assert (listed.reason, listed.remedy) == ("missing-column", "Correct the name in the task, or the file.")
    taken = refusal(*tables, columns_from=str(tables[0]))
    assert (taken.reason, taken.culprit) == ("missing-column", str(tables[1]))
    assert (
        f"has no column 'dose'; it has: age, Dose, ill. The task lists no features, so that they are the columns of "
        f"{tables[0]}." in taken.message
    )
    assert taken.remedy.startswith("Name the columns alike in all files")


def test_what_does_not_exist_is_said_not_to_exist_and_what_does_to_be_one_hospitals(tables, tmp_path):
    for absent in (tmp_path / "nowhere", tmp_path / "nowhere.csv"):
        error = refusal(absent)
        assert (error.reason, error.culprit) == ("unreadable-file", str(absent))
    assert refusal(tables[0]).reason == "one-hospital"


def test_a_file_with_one_class_is_refused_with_a_remedy_that_is_left(tables):
    tables[1].write_text("age,dose,ill\n1,2,1\n3,4,1\n")
    error = refusal(*tables)
    assert (error.reason, error.culprit) == ("one-class-site", str(tables[1]))
    assert error.remedy == "Check the label column and positive_above, or leave this hospital out."


class Halving(TabularTask):
    """Reads a table in a way of its own."""

    def read(self, path):
        records = super().read(path)
        return replace(records, features=records.features / 2)


def test_what_a_task_reads_in_a_way_of_its_own_is_not_divided_by_a_column_that_it_would_be_read_without(tables):
    tables[0].write_text("age,dose,ill,where\n1,2,1,north\n3,4,0,north\n5,6,0,south\n7,8,1,south\n")
    source = DataSource(paths=(str(tables[0]),), site_column="where")
    assert [len(site.records) for site in read_sites(source, build_task(tabular_spec()))] == [2, 2]
    with pytest.raises(InputError) as caught:
        read_sites(source, Halving(tabular_spec()))
    assert (caught.value.reason, caught.value.culprit) == ("not-a-table", str(tables[0]))


def test_of_each_patient_of_a_separate_test_as_many_rows_are_used_as_the_task_says_with_the_patients_label(tmp_path):
    path = tmp_path / "test.csv"
    path.write_text("age,dose,who,ill\n1,0,a,0\n2,0,a,0\n3,0,b,0\n4,0,a,1\n")
    test = read_test(DataSource(paths=(), test=str(path)), build_task(tabular_spec(patient="who", most_rows=2)))
    assert test.features[:, 0].tolist() == [1, 3, 4]
    assert test.patient_labels().tolist() == [1, 0]
