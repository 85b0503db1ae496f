"""Records that are others than those that a simulation began with: told, never refused."""

from __future__ import annotations

import msgspec
import pytest

from tests.support.hospitals import choices_of, settings_for, write_tables
from training.begun_with import changed_since, file_digests
from training.run_folder import RunFolder
from training.simulation import Observer, run
from training.simulation_folder import prepare, read_settings
from training.sites import DataSource


@pytest.fixture
def tables(tmp_path):
    return write_tables(tmp_path / "data", 3)


def told_of(source, begun_with):
    return [caution.message.partition(" are not those")[0] for caution in changed_since(source, begun_with)]


def of(*paths, **options):
    return DataSource(paths=tuple(map(str, paths)), **options)


@pytest.mark.parametrize(
    "change",
    [
        lambda tables: tables[1].write_bytes(tables[0].read_bytes()),
        lambda tables: tables[1].write_text(tables[1].read_text()[:60]),
        lambda tables: tables[1].unlink(),
    ],
    ids=["exchanged", "truncated", "gone"],
)
def test_a_file_that_changed_is_named_with_its_hospital_and_no_other_is(tables, change):
    source = of(*tables)
    begun_with = file_digests(source)
    assert told_of(source, begun_with) == []
    change(tables)
    assert told_of(source, begun_with) == [f"The records of h2, {tables[1]},"]


def test_each_file_of_a_folder_of_hospitals_is_compared(tables):
    source = of(tables[0].parent)
    begun_with = file_digests(source)
    assert list(begun_with) == [str(path) for path in tables]
    tables[2].write_bytes(tables[0].read_bytes())
    assert told_of(source, begun_with) == [f"The records of h3, {tables[2]},"]


def test_a_file_that_is_divided_and_one_that_is_tested_on_are_compared_too(tables):
    source = of(tables[0], split="iid", hospitals=2, test=str(tables[1]))
    begun_with = file_digests(source)
    for path in tables[:2]:
        path.write_bytes(tables[2].read_bytes())
    assert told_of(source, begun_with) == [f"The hospitals' records, {tables[0]},", f"The test records, {tables[1]},"]


def test_a_part_of_an_archive_is_compared_by_the_archive(tmp_path):
    archive = tmp_path / "a.npz"
    archive.write_bytes(b"before")
    source = of(f"{archive}::train", split="iid", hospitals=2)
    begun_with = file_digests(source)
    archive.write_bytes(b"after")
    assert told_of(source, begun_with) == [f"The hospitals' records, {archive}::train,"]


@pytest.mark.parametrize(
    ("change", "is_told"),
    [
        (lambda folder: (folder / "ill/1.png").write_bytes(b"other"), True),
        (lambda folder: (folder / "ill/1.png").rename(folder / "well/1.png"), True),
        (lambda folder: (folder / "ill/2.png").write_bytes(b"more"), True),
        (lambda folder: (folder / "ill/.hidden").write_bytes(b"none"), False),
    ],
    ids=["other pixels", "other class", "one more", "hidden"],
)
def test_of_a_folder_of_pictures_names_and_contents_are_compared(tmp_path, change, is_told):
    places = [tmp_path / name for name in ("one", "two")]
    for place in places:
        for kind in ("ill", "well"):
            (place / kind).mkdir(parents=True)
        (place / "ill/1.png").write_bytes(b"pixels")
    source = of(*places)
    begun_with = file_digests(source)
    change(places[1])
    assert told_of(source, begun_with) == ([f"The records of two, {places[1]},"] if is_told else [])


def test_what_is_no_file_is_not_compared(tables, tmp_path):
    assert list(file_digests(of(*tables[:2], f"h3={tmp_path / 'nothing'}"))) == [str(path) for path in tables[:2]]


def test_a_run_is_told_that_its_records_changed_and_goes_on(tmp_path, tables):
    folder = tmp_path / "run"
    prepare(folder, settings_for(tables, choices_of()))
    assert read_settings(folder).begun_with == file_digests(of(*tables))
    assert run(folder, Observer()).warnings == ()
    tables[1].write_bytes(tables[0].read_bytes())
    assert [caution.code for caution in run(folder, Observer()).warnings] == ["records-changed"]


def test_a_run_that_was_prepared_before_digests_were_kept_is_taken_up_as_ever(tmp_path, tables):
    folder = tmp_path / "run"
    prepare(folder, settings_for(tables, choices_of()))
    path = RunFolder(folder).settings
    settings = msgspec.json.decode(path.read_bytes())
    del settings["begun_with"], settings["source"]["columns_from"]
    path.write_bytes(msgspec.json.encode(settings))
    tables[1].write_bytes(tables[0].read_bytes())
    assert run(folder, Observer()).warnings == ()
