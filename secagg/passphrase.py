"""The passphrase of an identity file, from a file of its own.

Knows files. Knows nothing of what a passphrase opens.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from secagg.errors import InputError
from secagg.files import read_bounded

# PKCS#8 encryption takes no more.
_LONGEST_PASSPHRASE = 1023
_LARGEST_PASSPHRASE_FILE = 64 * 1024
# What leads to whatever this process has open, a file among them.
_OF_THIS_PROCESS: Final = ("/dev/fd/", "/dev/stdin", "/proc/")


def read_passphrase(path: Path | None) -> bytes | None:
    """The first line of a passphrase file.

    Raises:
        InputError: ``bad-passphrase`` if it is empty (the key would not be encrypted) or too long; ``unreadable``.
    """
    if path is None:
        return None
    passphrase = read_bounded(path, _LARGEST_PASSPHRASE_FILE).split(b"\n")[0].rstrip(b"\r")
    if not 0 < len(passphrase) <= _LONGEST_PASSPHRASE:
        raise InputError(
            "bad-passphrase",
            f"The first line of {path} is {'too long for' if passphrase else 'empty and thus not'} a passphrase.",
            culprit=str(path),
            remedy=f"Write 1 to {_LONGEST_PASSPHRASE} bytes in its first line.",
        )
    return passphrase


def is_lasting(path: Path) -> bool:
    """Whether a passphrase file will be there for another process too, as a pipe will not."""
    return path.is_file() and not str(path.absolute()).startswith(_OF_THIS_PROCESS)
