"""Who only reads a site's file needs no place to write, is never given half of it, and accuses nobody."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing

import pytest

from secagg.errors import InputError, SecaggError
from secagg.sqlite_files import connect_to_write, opened_to_read
from tests.support.few_files import room_for
from tests.support.read_only_media import by_nobody_special, copy_without_rights, mounted_read_only

NAME = "notes.sqlite"


def write(path, *notes):
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("CREATE TABLE IF NOT EXISTS notes (text TEXT)")
        database.executemany("INSERT INTO notes VALUES (?)", [(note,) for note in notes])


def told(path) -> str:
    """The notes, or why they cannot be read."""
    try:
        with opened_to_read(path) as database:
            return " ".join(note for (note,) in database.execute("SELECT text FROM notes"))
    except SecaggError as error:
        return f"{error.reason}, exit code {error.exit_code}"


@pytest.fixture
def folder(tmp_path):
    """With a file that its owner has closed."""
    (tmp_path / "folder").mkdir()
    write(tmp_path / "folder" / NAME, "a", "b")
    return tmp_path / "folder"


@pytest.fixture
def copied_while_open(folder, tmp_path):
    """With a copy of a file and of its ``-wal``, in which the last note is, as of an owner who had it open."""
    copy = tmp_path / "copied"
    with closing(sqlite3.connect(folder / NAME, isolation_level=None)) as database:
        database.execute("INSERT INTO notes VALUES ('c')")
        copy.mkdir()
        for name in (NAME, f"{NAME}-wal"):
            shutil.copy(folder / name, copy / name)
    return copy


def test_a_file_is_read_beside_its_writer(folder):
    with closing(sqlite3.connect(folder / NAME, isolation_level=None)) as database:
        database.execute("INSERT INTO notes VALUES ('c')")
        assert told(folder / NAME) == "a b c"


def test_what_can_be_read_only_is_read_and_nothing_is_put_beside_it(folder):
    (folder / f"{NAME}-wal").touch()
    for names in ([NAME, f"{NAME}-wal"], [NAME]):
        with mounted_read_only(folder) as place:
            assert told(place / NAME) == "a b"
            assert sorted(file.name for file in place.iterdir()) == names
        (folder / f"{NAME}-wal").unlink(missing_ok=True)


def test_so_is_what_belongs_to_somebody_else(folder):
    with copy_without_rights(folder) as place:
        assert by_nobody_special(lambda: told(place / NAME)) == "a b"


def test_a_file_whose_last_part_is_in_another_is_not_read_without_it_and_not_called_damaged(copied_while_open):
    with mounted_read_only(copied_while_open) as place:
        assert told(place / NAME) == "unreadable, exit code 2"
        with pytest.raises(InputError) as caught, opened_to_read(place / NAME):
            pass
        assert caught.value.culprit == str(place / NAME)
        assert "Copy its folder" in caught.value.remedy
    with copy_without_rights(copied_while_open) as place:
        assert by_nobody_special(lambda: told(place / NAME)) == "unreadable, exit code 2"
    # As the remedy says.
    assert told(copied_while_open / NAME) == "a b c"


@pytest.fixture
def nothing_is_made_beside_it(monkeypatch, tmp_path):
    """SQLite's own error where it cannot make what it puts beside a file."""
    connect = sqlite3.connect

    def unwritable(address, **options):
        beside = str(address).endswith("?mode=ro")
        return connect(f"file:{tmp_path}/nowhere/file?mode=ro" if beside else address, **options)

    monkeypatch.setattr("secagg.sqlite_files.sqlite3.connect", unwritable)


@pytest.mark.usefixtures("nothing_is_made_beside_it")
def test_where_sqlite_can_make_no_file_only_one_that_is_whole_is_read(folder, copied_while_open):
    assert told(folder / NAME) == "a b c"
    assert told(copied_while_open / NAME) == "unreadable, exit code 2"
    (folder / f"{NAME}-journal").write_bytes(b"begun")
    assert told(folder / NAME) == "unreadable, exit code 2"


@pytest.mark.usefixtures("nothing_is_made_beside_it")
def test_control_without_that_rule_the_last_note_would_go_unread_unseen(copied_while_open, monkeypatch):
    monkeypatch.setattr("secagg.sqlite_files._is_in_parts", lambda path: False)
    assert told(copied_while_open / NAME) == "a b"


@pytest.mark.usefixtures("nothing_is_made_beside_it")
def test_a_damaged_file_is_damaged_there_too(folder):
    (folder / NAME).write_bytes(b"not a database, but long enough to be looked into" * 40)
    with pytest.raises(sqlite3.DatabaseError, match="not a database"), opened_to_read(folder / NAME):
        pass


def test_a_missing_file_is_unreadable_and_is_not_made(tmp_path):
    assert told(tmp_path / NAME) == "unreadable, exit code 2"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("files", range(6))
def test_where_too_many_files_are_open_that_is_said_and_nothing_of_the_file(folder, files):
    """SQLite opens three at once, and never says why it cannot open one."""
    found = set()
    with room_for(files):
        found.add(told(folder / NAME))
        try:
            connect_to_write(folder / NAME).close()
        except SecaggError as error:
            found.add(f"{error.reason}, exit code {error.exit_code}")
    assert found <= {"too-many-files, exit code 2", "a b"}
    assert ("too-many-files, exit code 2" in found) == (files < 3)
