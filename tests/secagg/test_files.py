"""A file is written whole or not at all, and read with a bound."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path

import pytest

from secagg.errors import InputError
from secagg.files import (
    PRIVATE,
    create_atomically,
    is_locked,
    lock,
    read_bounded,
    remove_leftovers,
    write_atomically,
)
from secagg.passphrase import read_passphrase
from tests.support.few_files import room_for


def test_what_was_written_is_read_with_the_mode_that_was_asked_for(tmp_path):
    path = tmp_path / "new" / "folder" / "file"
    write_atomically(path, b"content", PRIVATE)
    assert read_bounded(path, 7) == b"content"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_failure_while_writing_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError) as caught:
        write_atomically(path, b"new content")
    assert caught.value.reason == "unwritable"
    assert "No space left" in caught.value.message
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_is_on_disk_before_it_has_its_name_and_the_name_before_the_call_returns(tmp_path, monkeypatch):
    path, flushed = tmp_path / "file", []
    flush = os.fsync

    def spy(descriptor: int) -> None:
        flushed.append((stat.S_ISDIR(os.fstat(descriptor).st_mode), path.exists()))
        flush(descriptor)

    monkeypatch.setattr(os, "fsync", spy)
    write_atomically(path, b"content")
    assert flushed == [(False, False), (True, True)]


_KILLED = """
import os, sys
from pathlib import Path
from secagg.files import write_atomically
os.fsync = lambda descriptor: os._exit(1)
write_atomically(Path(sys.argv[1]), b"content")
"""


def killed_while_writing(path):
    """What a process leaves that ends at once while it writes a file."""
    before = set(path.parent.iterdir())
    subprocess.run([sys.executable, "-c", _KILLED, str(path)], check=False)
    (left,) = set(path.parent.iterdir()) - before
    return left


def test_what_a_killed_process_left_half_written_is_removed_and_nothing_else(tmp_path):
    path = tmp_path / "file"
    write_atomically(path, b"old")
    left = killed_while_writing(path)
    others = [killed_while_writing(tmp_path / name) for name in ("other", "file.bin", "a.file")]
    others += [tmp_path / name for name in (".file.partial", ".file.mine.partial", ".file.abcdefgh.partial.txt")]
    for other in others:
        other.touch()
    remove_leftovers(path)
    assert not left.exists()
    assert set(tmp_path.iterdir()) == {path, *others}
    assert path.read_bytes() == b"old"


def test_where_there_is_no_folder_nothing_is_left(tmp_path):
    remove_leftovers(tmp_path / "none" / "file")
    assert not (tmp_path / "none").exists()


def test_the_new_content_appears_by_renaming_and_not_by_writing_into_the_old_file(tmp_path):
    path = tmp_path / "file"
    write_atomically(path, b"old")
    with path.open("rb") as reader:
        write_atomically(path, b"new")
        assert reader.read() == b"old"
    assert path.read_bytes() == b"new"


def test_a_private_file_replaces_a_public_one_with_its_own_mode(tmp_path):
    path = tmp_path / "file"
    write_atomically(path, b"old")
    write_atomically(path, b"new", PRIVATE)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_file_where_a_folder_is_needed_is_unwritable(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InputError) as caught:
        write_atomically(tmp_path / "file" / "inside", b"content")
    assert caught.value.reason == "unwritable"
    assert caught.value.exit_code == 2


def test_a_folder_where_the_file_should_be_is_unwritable_and_left_alone(tmp_path):
    (tmp_path / "name" / "inside").mkdir(parents=True)
    with pytest.raises(InputError) as caught:
        write_atomically(tmp_path / "name", b"content")
    assert caught.value.reason == "unwritable"
    assert [path.name for path in tmp_path.iterdir()] == ["name"]


def test_reading_a_missing_file_says_so(tmp_path):
    with pytest.raises(InputError) as caught:
        read_bounded(tmp_path / "absent", 10)
    assert caught.value.reason == "unreadable"


def test_a_file_that_cannot_be_opened_because_too_many_are_is_neither_missing_nor_forbidden(tmp_path):
    path = tmp_path / "file"
    write_atomically(path, b"content")
    with room_for(0):
        for action in (lambda: read_bounded(path, 7), lambda: write_atomically(path, b"other"), lambda: lock(path)):
            with pytest.raises(InputError) as caught:
                action()
            assert (caught.value.reason, caught.value.culprit) == ("too-many-files", str(path))
            assert "ulimit -n" in caught.value.remedy
    assert read_bounded(path, 7) == b"content"


def test_a_file_at_the_limit_is_read_and_one_byte_more_is_refused(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(bytes(10))
    assert read_bounded(path, 10) == bytes(10)
    with pytest.raises(InputError) as caught:
        read_bounded(path, 9)
    assert caught.value.reason == "file-too-large"


READ_WITH_LITTLE_MEMORY = """
import pathlib, resource, sys
from secagg.files import read_bounded
resource.setrlimit(resource.RLIMIT_AS, (1 << 32, 1 << 32))
print(len(read_bounded(pathlib.Path(sys.argv[1]), 1 << 34)))
"""


def test_a_small_file_takes_no_more_memory_than_it_has_bytes_however_large_it_might_be(tmp_path):
    path = tmp_path / "lines"
    path.write_bytes(b"line\n")
    command = [sys.executable, "-c", READ_WITH_LITTLE_MEMORY, str(path)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "5\n"


def test_a_pipe_of_several_parts_is_read_whole_and_no_further_than_its_limit(monkeypatch):
    monkeypatch.setattr("secagg.files._PART", 4)
    for limit, whole in ((10, True), (9, False)):
        read, write = os.pipe()
        os.write(write, b"0123456789")
        os.close(write)
        with nullcontext() if whole else pytest.raises(InputError, match="larger than 9 bytes"):
            assert read_bounded(Path(f"/dev/fd/{read}"), limit) == b"0123456789"
        os.close(read)


def test_what_comes_through_a_pipe_is_read_and_cannot_be_read_from_its_middle():
    """As a shell gives it: `--passphrase-file <(...)`."""
    reader, writer = os.pipe()
    os.write(writer, b"correct horse\n")
    os.close(writer)
    place = Path(f"/dev/fd/{reader}")
    with pytest.raises(InputError, match=r"cannot be read: .*seek"):
        read_bounded(place, 100, 1)
    assert read_passphrase(place) == b"correct horse"
    os.close(reader)


def test_a_file_that_must_be_new_is_written_whole_and_with_its_mode(tmp_path):
    path = tmp_path / "folder" / "file"
    create_atomically(path, b"content", PRIVATE)
    assert path.read_bytes() == b"content"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(path.parent.iterdir()) == [path]


def test_a_file_that_must_be_new_never_takes_the_place_of_another(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(InputError) as caught:
        create_atomically(path, b"new")
    assert (caught.value.reason, caught.value.culprit) == ("exists", str(path))
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_that_leads_nowhere_is_not_followed_by_a_file_that_must_be_new(tmp_path):
    path = tmp_path / "file"
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError) as caught:
        create_atomically(path, b"new")
    assert caught.value.reason == "exists"
    assert not (tmp_path / "elsewhere").exists()


def test_a_lock_is_seen_while_it_is_held(tmp_path):
    path = tmp_path / "state"
    assert not is_locked(path)
    descriptor = lock(path)
    assert is_locked(path)
    os.close(descriptor)
    assert not is_locked(path)


ASK_ON_AND_ON = """
import pathlib, sys
from secagg.files import is_locked
print(flush=True)
while True: is_locked(pathlib.Path(sys.argv[1]))
"""


def test_whoever_only_asks_keeps_nobody_from_taking_a_lock(tmp_path):
    path = tmp_path / "state"
    os.close(lock(path))
    command = [sys.executable, "-c", ASK_ON_AND_ON, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as asking:
        asking.stdout.readline()
        try:
            for _ in range(500):
                os.close(lock(path))
        finally:
            asking.kill()


def test_who_may_only_read_can_ask_whether_a_lock_is_held():
    with tempfile.TemporaryDirectory() as name:
        folder, path = Path(name), Path(name) / "state"
        descriptor = lock(path)
        folder.chmod(0o755)
        path.with_name("state.lock").chmod(0o444)
        was_root = os.geteuid() == 0
        if was_root:
            os.seteuid(65534)
        try:
            held = is_locked(path)
            os.close(descriptor)
            assert (held, is_locked(path)) == (True, False)
        finally:
            if was_root:
                os.seteuid(0)


def test_a_lock_that_may_not_be_looked_at_is_not_called_free(tmp_path, monkeypatch):
    def refuse(path, _flags):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(InputError) as caught:
        is_locked(tmp_path / "state")
    assert (caught.value.reason, caught.value.culprit) == ("unreadable", str(tmp_path / "state.lock"))
