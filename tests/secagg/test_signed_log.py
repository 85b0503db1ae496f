"""Any signed log: written all or nothing, believed as a whole or not at all. The ledger's tests try every byte."""

from __future__ import annotations

import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from functools import partial
from pathlib import Path

import msgspec
import pytest

from secagg import signature_batch, signed_log
from secagg.errors import InputError, TamperingError
from secagg.identity import Identity
from secagg.signed_log import FIRST_PREVIOUS, LogEntry, LogKind, SignedLog, read_log, signer_of
from tests.support.errors import error_of
from tests.support.few_files import room_for
from tests.support.log_rows import overwrite, rows

ROOT = Path(__file__).parents[2]


class Note(LogEntry, frozen=True, forbid_unknown_fields=True, kw_only=True):
    text: str


def kind_of(name: str) -> LogKind[Note]:
    return LogKind(
        Note,
        reason=name,
        article="a",
        name=name,
        remedy="Ask an officer.",
        put_back=f"Put the newest {name} back.",
        chain_label=f"test {name} entry 1\n".encode(),
        signature_label=f"test {name} signature 1\n".encode(),
    )


DIARY, LETTERS = kind_of("diary"), kind_of("letter book")


class Diary(SignedLog[Note]):
    def __init__(self, path, site, kind=DIARY):
        super().__init__(path, site, kind)

    def note(self, *texts: str) -> None:
        self._write(*(partial(Note, text=text) for text in texts))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "diary.sqlite"


@pytest.fixture
def site():
    return Identity.from_seed(bytes(range(32)))


@pytest.fixture
def diary(path, site):
    with Diary(path, site) as diary:
        yield diary


def texts(path, site, kind=DIARY) -> list[str]:
    return [entry.text for entry in read_log(path, site.public_key, kind)]


def signed(entry: Note, site: Identity) -> tuple:
    return entry.sequence, entry.body(), site.sign(DIARY.signed_bytes(entry.body()))


# Writing


def test_what_could_never_be_read_again_is_not_written(path, site):
    with Diary(path, site) as diary:
        diary.note("1")
        for unreadable in (1, None):
            with pytest.raises(ValueError, match="no entry of a diary"):
                diary.note("2", unreadable)
        diary.note("2")
    assert [note.text for note in read_log(path, site.public_key, DIARY)] == ["1", "2"]


def test_entries_written_together_are_those_written_one_by_one(tmp_path, site):
    with Diary(tmp_path / "one", site) as one, Diary(tmp_path / "all", site) as all_:
        for text in "abc":
            one.note(text)
        all_.note(*"abc")
        assert one.entries == all_.entries
        assert one.head == all_.head
    assert rows(tmp_path / "one") == rows(tmp_path / "all")


def test_each_entry_carries_the_hash_of_the_one_before(diary, path):
    assert diary.head == FIRST_PREVIOUS
    diary.note("a", "b")
    diary.note("c")
    hashes = [FIRST_PREVIOUS, *(DIARY.chain_hash(body) for _, body, _ in rows(path))]
    assert [entry.previous for entry in diary.entries] == hashes[:-1]
    assert diary.head == DIARY.head(diary.entries) == hashes[-1]


def test_a_reader_sees_what_was_written_while_the_owner_has_it(diary, path, site):
    diary.note("a", "b")
    assert texts(path, site) == ["a", "b"]
    assert error_of(Diary, path, site).reason == "state-in-use"


def test_writing_nothing_writes_nothing(diary, path):
    diary.note()
    assert (diary.entries, rows(path)) == ((), [])


def test_a_thousand_entries_are_one_batch(diary, path, site):
    diary.note(*map(str, range(1000)))
    assert texts(path, site) == list(map(str, range(1000)))


def test_a_file_is_flushed_and_private(diary, path):
    full = 2
    assert diary._database.execute("PRAGMA synchronous").fetchone() == (full,)
    diary.note("a")
    assert {stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()} == {0o600}


# All or nothing


def test_a_draft_that_is_no_entry_leaves_the_others_unwritten(diary, path):
    with pytest.raises(TypeError):
        diary._write(partial(Note, text="a"), partial(Note))
    assert (diary.entries, rows(path)) == ((), [])


def read_only(diary):
    diary._database.execute("PRAGMA query_only = ON")


def full(diary):
    """The disk is full: SQLite may use no page that it does not have."""
    diary._database.execute("PRAGMA max_page_count = 1")


@pytest.mark.parametrize("obstacle", [read_only, full])
def test_what_cannot_be_written_is_an_error_and_not_in_the_log(diary, path, site, obstacle):
    diary.note("a")
    head = diary.head
    obstacle(diary)
    found = error_of(diary.note, "b" * 9000, "c")
    assert isinstance(found, InputError)
    assert (found.reason, found.culprit, found.exit_code) == ("unwritable", str(path), 2)
    assert "Nothing leaves this site" in found.remedy
    assert (diary.head, texts(path, site)) == (head, ["a"])
    diary._database.execute("PRAGMA query_only = OFF")
    diary._database.execute("PRAGMA max_page_count = 10000")
    diary.note("d")
    assert texts(path, site) == ["a", "d"]


def test_an_entry_that_somebody_else_put_there_is_damage(diary, path):
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("INSERT INTO entries VALUES (1, x'00', x'00')")
    assert error_of(diary.note, "a").reason == "diary-damaged"
    assert diary.entries == ()


DYING = """
import os, signal, sys
from pathlib import Path
from secagg.identity import Identity
from tests.secagg.test_signed_log import Diary


class OneByOne(Diary):
    '''The weakened build: every entry is written on its own.'''

    def note(self, *texts):
        for text in texts:
            super().note(text)


def die():
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)


folder, build = Path(sys.argv[1]), {"whole": Diary, "weak": OneByOne}[sys.argv[2]]
for moment in range(1, 400, 13):
    child = os.fork()
    if child == 0:
        left = moment
        diary = build(folder / str(moment), Identity.from_seed(bytes(range(32))))
        # Called at every step of SQLite's machine: this dies in the midst of a statement.
        diary._database.set_progress_handler(die, 1)
        diary.note(*"abcdefgh")
        os._exit(0)
    if os.WIFSIGNALED(os.waitpid(child, 0)[1]):
        print(moment)
"""


def lengths_after_kill_9(folder, site, build):
    """How many entries of a batch of eight are left, over many moments to die in the midst of it."""
    command = [sys.executable, "-W", "ignore", "-c", DYING, folder, build]
    said = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True, cwd=ROOT).stdout.split()
    assert len(said) > 5
    return {len(texts(folder / moment, site)) for moment in said}


def test_kill_9_in_the_midst_of_a_batch_leaves_all_of_it_or_nothing(tmp_path, site):
    assert lengths_after_kill_9(tmp_path, site, "whole") <= {0, 8}


def test_control_a_log_that_writes_one_by_one_is_left_with_half_a_batch(tmp_path, site):
    assert lengths_after_kill_9(tmp_path, site, "weak") - {0, 8}


# Believing


def test_every_altered_byte_is_found_and_its_entry_named(diary, path, site):
    diary.note("a", "b", "c")
    whole = rows(path)
    for number, column in ((1, 1), (2, 1), (3, 1), (2, 2)):
        for position in range(len(whole[number - 1][column])):
            row = list(whole[number - 1])
            row[column] = bytes(byte ^ (at == position) for at, byte in enumerate(row[column]))
            with closing(sqlite3.connect(path)) as database, database:
                database.execute("PRAGMA synchronous = OFF")
                database.execute("UPDATE entries SET body = ?, signature = ? WHERE sequence = ?", (*row[1:], number))
            found = error_of(read_log, path, site.public_key, DIARY)
            assert isinstance(found, TamperingError)
            assert (found.reason, found.culprit, found.exit_code) == ("diary-altered", f"entry {number}", 4)
            assert f"Entry {number} of the diary {path} was altered" in found.message
        overwrite(path, whole)
    assert texts(path, site) == ["a", "b", "c"]


def test_control_without_signatures_an_altered_last_entry_would_pass(diary, path, site, monkeypatch):
    diary.note("a", "b")
    (*before, (sequence, body, signature)) = rows(path)
    overwrite(path, [*before, (sequence, body.replace(b'"b"', b'"x"'), signature)])
    assert error_of(read_log, path, site.public_key, DIARY).culprit == "entry 2"

    class BelievesAnything:
        @classmethod
        def from_public_bytes(cls, key):
            return cls()

        def verify(self, signature, message):
            pass

    monkeypatch.setattr(signature_batch, "Ed25519PublicKey", BelievesAnything)
    assert texts(path, site) == ["a", "x"]


def test_the_owner_cannot_change_an_entry_and_keep_those_after_it(diary, path, site):
    diary.note("a", "b", "c")
    first, _, third = rows(path)
    second = msgspec.structs.replace(diary.entries[1], text="x")
    overwrite(path, [first, signed(second, site), third])
    assert error_of(read_log, path, site.public_key, DIARY).culprit == "entry 3"


def test_limit_the_owner_can_change_the_newest_entry_and_only_the_noted_head_shows_it(diary, path, site):
    diary.note("a", "b")
    noted = diary.head
    first, _ = rows(path)
    overwrite(path, [first, signed(msgspec.structs.replace(diary.entries[1], text="x"), site)])
    assert texts(path, site) == ["a", "x"]
    assert DIARY.head(read_log(path, site.public_key, DIARY)) != noted


def test_a_log_of_one_kind_is_none_of_another(diary, path, site):
    diary.note("a")
    found = error_of(read_log, path, site.public_key, LETTERS)
    assert (found.reason, found.culprit) == ("letter book-altered", "entry 1")


def test_control_with_one_label_for_all_it_would_be(path, site):
    same = LogKind(Note, "letter book", "a", "letter book", "", "", DIARY.chain_label, DIARY.signature_label)
    with Diary(path, site) as diary:
        diary.note("a")
    assert texts(path, site, same) == ["a"]


@pytest.mark.parametrize("content", [b"not a database, but long enough to be looked into" * 40, bytes(4096)])
def test_a_file_that_is_no_log_is_damage_and_stays_as_it_is(path, site, content):
    path.write_bytes(content)
    for call, arguments in ((Diary, (path, site)), (read_log, (path, site.public_key, DIARY))):
        found = error_of(call, *arguments)
        assert (found.reason, found.culprit) == ("diary-damaged", str(path))
        assert f"{path} cannot be read as a diary" in found.message
    assert path.read_bytes() == content


def test_after_a_failure_to_open_the_lock_is_free(path, site):
    with Diary(path, site) as diary:
        diary.note("a", "b")
    whole = rows(path)
    overwrite(path, whole[1:])
    assert error_of(Diary, path, site).reason == "diary-altered"
    overwrite(path, whole)
    with Diary(path, site) as again:
        assert [entry.text for entry in again.entries] == ["a", "b"]


def test_a_missing_log_is_unreadable_and_is_not_made_by_reading(path, site):
    assert error_of(read_log, path, site.public_key, DIARY).reason == "unreadable"
    assert not path.exists()


def test_a_folder_in_its_place_is_unwritable(path, site):
    path.mkdir()
    assert error_of(Diary, path, site).reason == "unwritable"


# Files of others

ROWS = 20_000
VIEW = f"""CREATE VIEW entries AS
    WITH RECURSIVE counted (number) AS (SELECT {ROWS} UNION ALL SELECT number - 1 FROM counted WHERE number > 1)
    SELECT number AS sequence, zeroblob(1000) AS body, zeroblob(64) AS signature FROM counted"""
OURS = signed_log._SCHEMA
UNLIKE_A_LOG = {
    "a view": [VIEW],
    "a view that has its name in capitals": [VIEW.replace("VIEW entries", "VIEW ENTRIES")],
    "a table that is to be sorted": [OURS.replace("INTEGER PRIMARY KEY", "INTEGER")],
    "a view beside its table": [OURS, VIEW.replace("VIEW entries", "VIEW others")],
    "a trigger": [OURS, "CREATE TRIGGER noticed AFTER INSERT ON entries BEGIN DELETE FROM entries; END"],
    "no table": ["CREATE TABLE others (sequence INTEGER PRIMARY KEY)"],
}


def made_of(path, schema):
    with closing(sqlite3.connect(path)) as database, database:
        for statement in schema:
            database.execute(statement)


@pytest.mark.parametrize("schema", UNLIKE_A_LOG.values(), ids=UNLIKE_A_LOG)
def test_a_file_whose_entries_are_not_the_rows_of_a_logs_table_is_damage_and_nothing_of_it_is_read(path, site, schema):
    made_of(path, schema)
    for call, arguments in ((read_log, (path, site.public_key, DIARY)), (signer_of, (path, [site.public_key], DIARY))):
        found = error_of(call, *arguments)
        assert (found.reason, found.culprit) == ("diary-damaged", str(path))
        assert "not in the one table that a log has" in found.message


def test_control_without_a_look_at_the_schema_a_small_file_is_read_as_twenty_megabytes(path, site, monkeypatch):
    made_of(path, [VIEW])
    assert path.stat().st_size < 10_000
    monkeypatch.setattr(signed_log, "_require_own_table", lambda _database: None)
    with signed_log.opened_to_read(path) as database:
        assert sum(len(body) for _, body, _ in signed_log._rows(database, path, DIARY)) == 1000 * ROWS


def test_a_field_that_is_larger_than_any_entry_is_damage(path, site):
    made_of(path, [OURS, "INSERT INTO entries VALUES (1, zeroblob(20000000), zeroblob(64))"])
    assert error_of(read_log, path, site.public_key, DIARY).reason == "diary-damaged"


@pytest.mark.parametrize("signature", [b"", bytes(63), bytes(65)], ids=len)
def test_whose_log_it_is_is_not_known_where_the_first_signature_is_none(diary, path, site, signature):
    diary.note("a")
    ((sequence, body, _),) = rows(path)
    assert signer_of(path, [site.public_key], DIARY) == site.public_key
    overwrite(path, [(sequence, body, signature)])
    assert signer_of(path, [site.public_key], DIARY) is None
    assert error_of(read_log, path, site.public_key, DIARY).culprit == "entry 1"


@pytest.mark.parametrize("files", range(4))
def test_a_log_that_cannot_be_opened_because_too_many_files_are_is_not_called_damaged(path, site, files):
    with Diary(path, site) as diary:
        diary.note("one")
    with room_for(files):
        with pytest.raises(InputError) as caught:
            Diary(path, site)
        assert caught.value.reason == "too-many-files"
    with Diary(path, site) as diary:
        assert len(diary.entries) == 1
