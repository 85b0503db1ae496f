"""Writing files so that a reader never finds half of one, and reading them with a bound.

Knows paths and bytes. Knows nothing of what the bytes mean.
"""

from __future__ import annotations

import errno
import fcntl
import os
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO, Final

from secagg.errors import InputError

PRIVATE = 0o600
SHARED = 0o644
_TRIES: Final = 1000
_PART: Final = 1 << 26
_PARTIAL: Final = ".partial"
_DRAWN: Final = 8 * "[a-z0-9_]"
"""What mkstemp puts into a name, as a pattern."""
TOO_MANY_FILES: Final = "too-many-files"
_NO_MORE_FILES: Final = frozenset({errno.EMFILE, errno.ENFILE})


def write_atomically(path: Path, data: bytes, mode: int = SHARED) -> None:
    """Put ``data`` at ``path`` with ``mode``, in place of what is there: all of it, durably, or nothing.

    Raises:
        InputError: ``unwritable``, if the folder cannot be written to.
    """
    _write(path, data, mode, lambda temporary: temporary.replace(path))


def create_atomically(path: Path, data: bytes, mode: int = SHARED) -> None:
    """The same for a file that must not exist yet.

    Raises:
        InputError: ``exists``, ``unwritable``.
    """

    def settle(temporary: Path) -> None:
        try:
            path.hardlink_to(temporary)
        except FileExistsError as error:
            raise InputError(
                "exists",
                f"{path} exists already and is left as it is.",
                culprit=str(path),
                remedy="Choose another path.",
            ) from error

    _write(path, data, mode, settle)


def _write(path: Path, data: bytes, mode: int, settle: Callable[[Path], object]) -> None:
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # mkstemp makes a name that nobody can have prepared, readable by its owner only.
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=_PARTIAL, dir=path.parent)
        temporary = Path(name)
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        settle(temporary)
        sync(path.parent)
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        if temporary:
            temporary.unlink(missing_ok=True)


def remove_leftovers(path: Path) -> None:
    """Remove what was left of writing ``path`` by a process that was killed at it: as large as the file, and of no use.

    Only for who alone may write that file: another's write would fail.

    Args:
        path: its name may be a pattern, as for `Path.glob`.

    Raises:
        InputError: ``unwritable``.
    """
    try:
        for leftover in path.parent.glob(f".{path.name}.{_DRAWN}{_PARTIAL}"):
            leftover.unlink(missing_ok=True)
    except OSError as error:
        raise unwritable(path, error) from error


def sync(path: Path) -> None:
    """Make durable what was written to a file, whoever wrote it, or what was renamed in a folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_bounded(path: Path, limit: int, start: int = 0) -> bytes:
    """Read ``path`` from byte ``start`` on, at most ``limit`` bytes.

    Raises:
        InputError: ``unreadable`` if it is missing or cannot be read, ``file-too-large`` beyond ``limit``.
    """
    try:
        with path.open("rb") as file:
            # Not otherwise: a pipe can be read, and nothing in it passed over.
            if start:
                file.seek(start)
            data = _read_up_to(file, limit + 1)
    except OSError as error:
        raise unreadable(path, error) from error
    if len(data) > limit:
        raise InputError(
            "file-too-large",
            f"{path} is larger than {limit} bytes.",
            culprit=str(path),
            remedy="It is probably not the file you meant.",
        )
    return data


def _read_up_to(file: BinaryIO, most: int) -> bytes:
    """What is in an open file, ``most`` bytes of it at most.

    A file in one part, a pipe in several: Python reserves as much memory as may be read, which a machine may not have.
    """
    parts, largest = [], max(_PART, os.fstat(file.fileno()).st_size)
    while most:
        asked = min(most, largest)
        parts.append(file.read(asked))
        most -= asked
        # Less than was asked for: that was the end. Who types into a terminal would have to say so twice.
        if len(parts[-1]) < asked:
            break
    return b"".join(parts)


def require_text(path: str) -> None:
    """Refuse a path that cannot be written into a file of text: its name, or that of a folder on the way, is no UTF-8.

    Raises:
        InputError: ``path-not-text``.
    """
    try:
        path.encode()
    except UnicodeEncodeError as error:
        raise InputError(
            "path-not-text",
            f"{path} cannot be written down: the path has bytes in it that are no UTF-8.",
            culprit=path,
            remedy="Rename the file, or the folder that it is in.",
        ) from error


def require_there(path: Path) -> None:
    """Refuse a path that somebody has named and where nothing is.

    Raises:
        InputError: ``unreadable``.
    """
    try:
        path.stat()
    except OSError as error:
        raise unreadable(path, error) from error


def require_file(path: Path) -> None:
    """Refuse what can be read only once, such as a pipe: what is found good in it could not be copied any more.

    Raises:
        InputError: ``not-a-file``; ``unreadable``, if nothing is there.
    """
    require_there(path)
    if not path.is_file():
        raise InputError(
            "not-a-file",
            f"{path} is not a file, and could not be read a second time.",
            culprit=str(path),
            remedy="Give a file: a copy of it is kept, once it is found good.",
        )


def lock(path: Path) -> int:
    """Take the lock of the state file ``path`` for this process; closing the returned descriptor lets go of it.

    By whatever links ``path`` leads to it, the lock is beside the file itself: there is one for one file.

    Raises:
        InputError: ``state-in-use`` if another process has it, ``unwritable``.
    """
    file = Path(os.path.realpath(path))
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(file.with_name(f"{file.name}.lock"), os.O_RDWR | os.O_CREAT, PRIVATE)
    except OSError as error:
        raise unwritable(path, error) from error
    if not _comes_free(descriptor):
        os.close(descriptor)
        raise InputError(
            "state-in-use",
            f"{path} is in use by another process.",
            culprit=str(path),
            remedy="Stop the other process, or wait until it has ended: what is there belongs to one at a time.",
        )
    return descriptor


def is_locked(path: Path) -> bool:
    """Whether a process has the lock of the state file ``path`` now.

    Raises:
        InputError: ``unreadable``, if this account may not ask.
    """
    file = path.with_name(f"{path.name}.lock")
    try:
        # Not to write: a copy on a read-only mount is asked too.
        descriptor = os.open(file, os.O_RDONLY)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise unreadable(file, error) from error
    try:
        # Shared: others may ask at the same time.
        return not _take(descriptor, fcntl.LOCK_SH)
    finally:
        os.close(descriptor)


def _comes_free(descriptor: int) -> bool:
    """Take the lock; whoever only asks whether it is held holds it for an instant, in which it is tried again."""
    for _ in range(_TRIES):
        if _take(descriptor, fcntl.LOCK_EX):
            return True
        os.sched_yield()
    return False


def _take(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_out_of_files(error: OSError) -> bool:
    """Whether ``error`` says that no more files can be open, which has nothing to do with the one that was to be."""
    return error.errno in _NO_MORE_FILES


def can_open(files: int) -> bool:
    """Whether so many more can be open at once: for libraries that only say that they could not open theirs."""
    with ExitStack() as opened:
        try:
            for _ in range(files):
                opened.callback(os.close, os.open(os.devnull, os.O_RDONLY))
        except OSError as error:
            return not is_out_of_files(error)
    return True


def too_many_files(path: Path | None = None) -> InputError:
    """The error where no more files can be open.

    Args:
        path: of the file that was to be opened, if it has a name.
    """
    return InputError(
        TOO_MANY_FILES,
        f"{path or 'A file'} cannot be opened: as many files are open as may be.",
        culprit=str(path) if path else None,
        remedy="Allow more: `ulimit -n` shows and sets how many a process may have open, LimitNOFILE does in a systemd "
        "unit, fs.file-max for the whole system. A simulation has about 15 open for each hospital.",
    )


def unreadable(path: Path, error: OSError) -> InputError:
    """The error for a file that is missing or cannot be read; where no more can be open, the one for that."""
    if is_out_of_files(error):
        return too_many_files(path)
    return InputError(
        "unreadable",
        f"{path} cannot be read: {error.strerror or error}.",
        culprit=str(path),
        remedy="Check the path and its permissions.",
    )


def unwritable(path: Path, error: OSError) -> InputError:
    """The error for a place that cannot be written to; where no more files can be open, the one for that."""
    if is_out_of_files(error):
        return too_many_files(path)
    return InputError(
        "unwritable",
        f"{path} cannot be written: {error.strerror or error}.",
        culprit=str(path),
        remedy="Choose a folder that you can write to and that has free space.",
    )


def unwritable_state(path: Path, error: Exception) -> InputError:
    """The error for a file of this site's memory that cannot be written: what is not on disk does not leave."""
    return InputError(
        "unwritable",
        f"{path} cannot be written: {error}.",
        culprit=str(path),
        remedy="Nothing leaves this site until it can be: free some space, or mend the permissions.",
    )
