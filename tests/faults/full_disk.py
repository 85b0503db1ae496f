"""A disk that is full on command, in a process of its own: by a limit on files, or a real file system of a few pages.

Replaces nothing of `secagg`: the errors are the operating system's.
"""

from __future__ import annotations

import ctypes
import os
import resource
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Protocol

from dp.ledger import Ledger
from secagg.egress import EgressLog, sending
from secagg.errors import InputError, RemoteProtocolError
from secagg.latch import Latch
from secagg.wire import Stage
from secagg.wire.envelope import peek
from tests.faults.latch_driver import (
    CHARTER,
    IDENTITIES,
    LEFT,
    VICTIM,
    Recorded,
    append,
    consortium_of,
    hospital,
    in_a_process,
    latch_of,
    play,
)
from tests.faults.sqlite_writes import Writes
from tests.support.misbehaving import MisbehavingCoordinator

NOT_TO_BE_HAD = 11
REFUSED = "refused"
KEPT = "kept"
COHORT = 2 * (24 + 4096)
"""What SQLite's log grows by when a cohort is recorded: a table's page and its index's."""
_NEW_USERS, _NEW_MOUNTS = 0x10000000, 0x00020000


class Disk(Protocol):
    """Where state is kept, and how to fill it."""

    def full(self) -> AbstractContextManager[None]:
        """Nothing more fits meanwhile."""


class LimitedFiles:
    """No file of this process may grow beyond a log of SQLite's in ``folder`` and ``slack`` bytes (setrlimit(2))."""

    def __init__(self, folder: Path, slack: int = 0) -> None:
        self._folder = folder
        self._slack = slack

    @contextmanager
    def full(self) -> Iterator[None]:
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        size = min(file.stat().st_size for file in self._folder.glob("*-wal"))
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + self._slack, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)


class SmallDisk:
    """A file system of one megabyte in memory, mounted for this process alone (unshare(2), mount(2)).

    Raises:
        OSError: where the kernel does not allow it.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        libc = ctypes.CDLL(None, use_errno=True)
        user, group = os.getuid(), os.getgid()
        _done(libc.unshare(_NEW_USERS | _NEW_MOUNTS))
        with suppress(OSError):
            Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {user} 1")
        Path("/proc/self/gid_map").write_text(f"0 {group} 1")
        _done(libc.mount(b"tmpfs", bytes(folder), b"tmpfs", ctypes.c_ulong(0), b"size=1m"))
        self._filler = folder / "filler"

    @contextmanager
    def full(self) -> Iterator[None]:
        try:
            with suppress(OSError), self._filler.open("wb", buffering=0) as file:
                while file.write(bytes(1024)):
                    pass
            yield
        finally:
            self._filler.unlink()


def _done(result: int) -> None:
    if result:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


class Starved(Recorded):
    """A hospital that finds its disk full whenever something but a sum comes, and has space when it is told again."""

    disk: Disk
    spared = False

    def receive(self, message: bytes) -> list[bytes]:
        self.spared = peek(message).stage is Stage.SUM
        return super().receive(message)

    def _recorded(self, step: Callable[[], list[bytes]]) -> list[bytes]:
        if self.spared:
            return super()._recorded(step)
        with self.disk.full():
            replies = self._refused(step)
        if replies is None:
            append(self.folder / REFUSED, [b"unwritable"])
            replies = step()
        append(self.folder / LEFT, replies)
        return replies

    def _refused(self, step: Callable[[], list[bytes]]) -> list[bytes] | None:
        try:
            return step()
        except InputError as error:
            if error.reason != "unwritable":
                raise
            return None


class StarvedAtTheEnd(Recorded):
    """A hospital whose disk is full when a sum comes."""

    disk: Disk

    def receive(self, message: bytes) -> list[bytes]:
        if peek(message).stage is not Stage.SUM:
            return super().receive(message)
        with self.disk.full():
            try:
                return super().receive(message)
            except InputError as error:
                append(self.folder / REFUSED, [error.reason.encode()])
        with suppress(RemoteProtocolError):
            append(self.folder / LEFT, super().receive(message))
        return []


def limited(folder: Path) -> Disk:
    return LimitedFiles(folder)


def limited_after_a_cohort(folder: Path) -> Disk:
    return LimitedFiles(folder, COHORT)


def small(folder: Path) -> Disk:
    return SmallDisk(folder)


def play_on(folder: Path, make: Callable[[Path], Disk], kind: type[Starved | StarvedAtTheEnd]) -> int | None:
    """The whole play with a disk that is full again and again; its state is copied to ``folder / "kept"``."""
    return in_a_process(_play_on, folder, make, kind)


def log_on(folder: Path, make: Callable[[Path], Disk]) -> int | None:
    """An egress log and a ledger on such a disk."""
    return in_a_process(_log_on, folder, make)


def _made(make: Callable[[Path], Disk], state: Path) -> Disk:
    try:
        return make(state)
    except OSError as error:
        print(error, file=sys.stderr)
        sys.exit(NOT_TO_BE_HAD)


def _play_on(folder: Path, make: Callable[[Path], Disk], kind: type[Starved | StarvedAtTheEnd]) -> None:
    state = latch_of(folder).parent
    kind.disk, kind.folder, kind.writes = _made(make, state), folder, Writes()
    with Latch(latch_of(folder)) as latch:
        made = consortium_of(folder / "others", hospital(VICTIM, latch, kind))
        play(MisbehavingCoordinator(made.charter, made.clients))
    shutil.copytree(state, folder / KEPT)


def _log_on(folder: Path, make: Callable[[Path], Disk]) -> None:
    state = folder / "state"
    disk = _made(make, state)
    identity, data_set, run = IDENTITIES[0], "a" * 64, "1" * 64
    if isinstance(disk, SmallDisk):
        # Before there is any log: no room for one is no damage to one.
        with disk.full():
            _must_be_unwritable(lambda: EgressLog(state / "egress.sqlite", identity))
            _must_be_unwritable(lambda: Ledger(state / "ledger.sqlite", identity))
    message = MisbehavingCoordinator(CHARTER, {}).abort_message()
    with EgressLog(state / "egress.sqlite", identity) as log, Ledger(state / "ledger.sqlite", identity) as ledger:
        passages = [sending(message, "now")] * 3
        for _ in range(2):
            with disk.full():
                _must_be_unwritable(lambda: log.record(*passages))
            log.record(*passages)
        with disk.full():
            _must_be_unwritable(lambda: ledger.note_unprotected(data_set, run, 1, 1e-5, "now"))
        ledger.note_unprotected(data_set, run, 1, 1e-5, "now")
    shutil.copytree(state, folder / KEPT)


def _must_be_unwritable(call: Callable[[], object]) -> None:
    try:
        call()
    except InputError as error:
        if error.reason == "unwritable":
            return
        raise
    raise AssertionError("something was written on a full disk")
