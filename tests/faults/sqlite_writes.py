"""Every write that SQLite makes to a file, from within: to count them, and to die before or in the middle of one.

Knows SQLite's unix VFS, which lets a program put its own functions in the place of system calls (`xSetSystemCall`,
sqlite3.h): no other tool is needed, and nothing of `secagg` is replaced.
"""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

_WRITE = ctypes.CFUNCTYPE(ctypes.c_ssize_t, ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int64)
_POINTER = ctypes.c_void_p
_SET = ctypes.CFUNCTYPE(ctypes.c_int, _POINTER, ctypes.c_char_p, _POINTER)
_GET = ctypes.CFUNCTYPE(_POINTER, _POINTER, ctypes.c_char_p)
# What SQLite may write with, by platform and build.
_CALLS = (b"pwrite", b"pwrite64")
_UNNAMED = 12


class _Vfs(ctypes.Structure):
    """``sqlite3_vfs``, version 3."""

    _fields_ = (
        ("version", ctypes.c_int),
        ("file_size", ctypes.c_int),
        ("longest_path", ctypes.c_int),
        ("next", _POINTER),
        ("name", ctypes.c_char_p),
        ("data", _POINTER),
        ("methods", _POINTER * _UNNAMED),
        ("current_time", _POINTER),
        ("set_system_call", _SET),
        ("get_system_call", _GET),
        ("next_system_call", _POINTER),
    )


class Moment(StrEnum):
    """When to die: before a write, or with half of it on disk."""

    BEFORE = "before"
    WITHIN = "within"


@dataclass
class Writes:
    """Counts SQLite's writes in this process while ``counting``; dies by SIGKILL at one of them.

    Args:
        fatal: which write, from 1; 0 for none.
    """

    fatal: int = 0
    moment: Moment = Moment.BEFORE
    count: int = 0
    counting: bool = False
    _kept: list[object] = field(default_factory=list)

    def watch(self) -> None:
        """Put this in the place of the system call.

        Raises:
            OSError: where the SQLite that Python uses cannot be reached.
        """
        import _sqlite3

        library = ctypes.CDLL(_sqlite3.__file__)
        try:
            library.sqlite3_vfs_find.restype = ctypes.POINTER(_Vfs)
        except AttributeError as error:
            raise OSError("Python's SQLite shows no VFS") from error
        vfs = library.sqlite3_vfs_find(None)
        for name in _CALLS:
            original = vfs.contents.get_system_call(ctypes.cast(vfs, _POINTER), name)
            if original:
                replacement = _WRITE(self._instead_of(_WRITE(original)))
                self._kept.append(replacement)
                vfs.contents.set_system_call(ctypes.cast(vfs, _POINTER), name, ctypes.cast(replacement, _POINTER))
        if not self._kept:
            raise OSError("Python's SQLite writes in another way")

    def _instead_of(self, original: Callable[[int, int, int, int], int]) -> Callable[[int, int, int, int], int]:
        def write(descriptor: int, data: int, size: int, offset: int) -> int:
            if self.counting:
                self.count += 1
                if self.count == self.fatal:
                    if self.moment is Moment.WITHIN:
                        original(descriptor, data, size // 2, offset)
                    os.kill(os.getpid(), signal.SIGKILL)
            return original(descriptor, data, size, offset)

        return write
