"""A transcript as files, one for each epoch: events one after another, each preceded by its length.

Knows files and framing. An event is MessagePack; its length is 8 bytes, unsigned, big-endian. What is in a transcript
shows no more than sums, but it is the coordinator's only record: mode 0600, appended to, never rewritten.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Annotated, BinaryIO, Final

import msgspec

from secagg.errors import InputError, TamperingError
from secagg.files import PRIVATE, sync, unreadable, unwritable
from secagg.json_documents import MALFORMED
from secagg.masking.journal import Event
from secagg.signed_log import Sha256

AROUND: Final = 0
"""The number of the transcript that holds what belongs to no epoch."""
_LENGTH: Final = 8
_PATTERN: Final = "epoch-*.transcript"
_PART: Final = 1 << 20
_MOST_DIGITS: Final = 13


class TranscriptWriter:
    """Appends events to the transcript of one epoch: call it with an event. Holds no file open."""

    def __init__(self, folder: Path, epoch: int) -> None:
        self._path = folder / _name_of(epoch)
        self._whole = False

    def __call__(self, event: Event) -> None:
        """Append one event, whole or not at all. The first time, whatever an earlier process could not finish is cut
        off.

        Raises:
            InputError: ``unwritable``.
        """
        data = msgspec.msgpack.encode(event)
        try:
            if not self._whole:
                self._begin()
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, PRIVATE)
            with os.fdopen(descriptor, "ab") as file:
                file.write(len(data).to_bytes(_LENGTH, "big") + data)
        except OSError as error:
            self._whole = False
            # Nothing may ever be appended to this file again. If it cannot be cut now, the next start does.
            with suppress(OSError):
                _cut(self._path)
            raise unwritable(self._path, error) from error

    def _begin(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        if self._path.exists():
            _cut(self._path)
        self._whole = True


def cut_to_whole_events(folder: Path) -> None:
    """Cut off what a process that was killed could not finish, in the file of whatever epoch.

    Raises:
        InputError: ``unwritable``.
    """
    for path in _regular_files(folder):
        try:
            _cut(path)
        except OSError as error:
            raise unwritable(path, error) from error


def transcript_files(folder: Path) -> tuple[Path, ...]:
    """The transcripts in ``folder``, by epoch; regular files only, and none that is empty.

    Raises:
        InputError: ``no-transcript``, if there are none.
    """
    found = tuple(path for path in _regular_files(folder) if path.stat().st_size)
    if not found:
        raise InputError(
            "no-transcript",
            f"There is no transcript in {folder}.",
            culprit=str(folder),
            remedy="Give the coordinator's transcript folder; it has one file for each epoch.",
        )
    return found


def stray_files(folder: Path) -> tuple[Path, ...]:
    """What looks like a transcript by its name and is none: else an epoch could have a second file.

    So is a link, a folder or a pipe with the right name: a link can be turned to another file, or to one elsewhere.
    """
    return tuple(sorted(path for path in folder.glob(_PATTERN) if not _is_one(path)))


def epoch_of(path: Path) -> int:
    """Which epoch's transcript this is said to be, by its name; `AROUND` for what belongs to none."""
    return int(path.stem.rpartition("-")[2])


def _name_of(epoch: int) -> str:
    return f"epoch-{epoch:06d}.transcript"


def _is_named_rightly(path: Path) -> bool:
    """Whether it is called as its writer would call it: one epoch has one name."""
    digits = path.stem.rpartition("-")[2]
    return digits.isascii() and digits.isdigit() and len(digits) < _MOST_DIGITS and path.name == _name_of(int(digits))


def read_events(path: Path, largest: int) -> Iterator[Event]:
    """The events of one transcript, read one by one.

    Args:
        largest: the most bytes that an event may have.

    Raises:
        InputError: ``unreadable``.
        TamperingError: ``transcript-damaged``, at the first event that is cut off or is none.
    """
    try:
        with path.open("rb") as file:
            for number, length in _lengths(path, file):
                if length > largest:
                    raise _damaged(path, number, "it is larger than any message can be")
                yield _decoded(path, number, file.read(length))
    except OSError as error:
        raise unreadable(path, error) from error


def read_short_events(path: Path, longest: int) -> Iterator[Event]:
    """The events of one transcript that have no more than so many bytes; of others only the length is read.

    Raises:
        InputError: ``unreadable``.
        TamperingError: ``transcript-damaged``, at the first event that is cut off, or is short and none.
    """
    try:
        with path.open("rb") as file:
            for number, length in _lengths(path, file):
                if length <= longest:
                    yield _decoded(path, number, file.read(length))
                else:
                    file.seek(length, os.SEEK_CUR)
    except OSError as error:
        raise unreadable(path, error) from error


def _lengths(path: Path, file: BinaryIO) -> Iterator[tuple[int, int]]:
    """Of each event its number and its length, which is no larger than what is left of the file.

    Args:
        file: stands at the beginning of each event when that is given, and is to stand at its end after.
    """
    remaining, number = path.stat().st_size, 0
    while remaining:
        number += 1
        length = int.from_bytes(file.read(_LENGTH), "big")
        remaining -= _LENGTH + length
        if remaining < 0:
            raise _damaged(path, number, "it is cut off")
        yield number, length


class FileCheckpoint(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How far one file of a transcript has come: its size in bytes, and the SHA-256 of that much of it."""

    name: Annotated[str, msgspec.Meta(pattern=r"^epoch-[0-9]{6,12}[.]transcript\Z")]
    bytes: Annotated[int, msgspec.Meta(ge=1)]
    sha256: Sha256


def checkpoint_files(folder: Path, known: Iterable[FileCheckpoint] = ()) -> tuple[FileCheckpoint, ...]:
    """How far a transcript has come. That much of it is on disk, and still there after the power has failed.

    Args:
        known: what this gave for the same folder before: files that have not grown since are not read again.

    Raises:
        InputError: ``no-transcript``, ``unreadable``, ``unwritable``.
    """
    before = {(checkpoint.name, checkpoint.bytes): checkpoint for checkpoint in known}
    sizes = {path: path.stat().st_size for path in transcript_files(folder)}
    _settle(folder, [path for path, size in sizes.items() if (path.name, size) not in before])
    return tuple(
        before.get((path.name, size)) or FileCheckpoint(path.name, size, _sha256(path, size))
        for path, size in sizes.items()
    )


def _settle(folder: Path, files: Iterable[Path]) -> None:
    try:
        for path in (*files, folder):
            sync(path)
    except OSError as error:
        raise unwritable(folder, error) from error


def require_grown_from(noted: FileCheckpoint, folder: Path) -> None:
    """Refuse a file of a transcript that does not go on from what it is known to have been.

    Raises:
        InputError: ``unreadable``.
        TamperingError: ``transcript-altered``.
    """
    path = folder / noted.name
    if not _is_one(path) or path.stat().st_size < noted.bytes or _sha256(path, noted.bytes) != noted.sha256:
        raise TamperingError(
            "transcript-altered",
            f"{noted.name} is not the file that hospitals have signed for: it was altered, cut off or removed.",
            culprit=noted.name,
            remedy="Ask the coordinator for the file as it was at the end of the run.",
        )


def _sha256(path: Path, size: int) -> str:
    """Of the first so many bytes."""
    hasher = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while size > 0:
                part = file.read(min(size, _PART))
                if not part:
                    break
                hasher.update(part)
                size -= len(part)
    except OSError as error:
        raise unreadable(path, error) from error
    return hasher.hexdigest()


def _regular_files(folder: Path) -> list[Path]:
    return sorted((path for path in folder.glob(_PATTERN) if _is_one(path)), key=epoch_of)


def _is_one(path: Path) -> bool:
    """Whether it is an epoch's transcript, by its name and as a file."""
    return _is_named_rightly(path) and path.is_file() and not path.is_symlink()


def _cut(path: Path) -> None:
    """Take off the file's end what is no whole event; a file that is whole is left alone."""
    size, whole = path.stat().st_size, _whole_size(path)
    if whole < size:
        os.truncate(path, whole)


def _whole_size(path: Path) -> int:
    """How many bytes of a transcript are whole events."""
    size, whole = path.stat().st_size, 0
    with path.open("rb") as file:
        while whole + _LENGTH <= size:
            file.seek(whole)
            length = int.from_bytes(file.read(_LENGTH), "big")
            end = whole + _LENGTH + length
            # No event is empty: where the power fails, some file systems leave zeros for what was not yet on disk.
            if length == 0 or end > size:
                break
            whole = end
    return whole


def _decoded(path: Path, number: int, data: bytes) -> Event:
    try:
        event: Event = msgspec.msgpack.decode(data, type=Event)
    except MALFORMED as error:
        raise _damaged(path, number, "it cannot be read") from error
    return event


def _damaged(path: Path, number: int, why: str) -> TamperingError:
    return TamperingError(
        "transcript-damaged",
        f"Event {number} of the transcript's file {path.name} is not one: {why}.",
        culprit=path.name,
        remedy="Ask the coordinator for the whole file; a run that was killed may have cut off its last event.",
    )
