"""What one run of the command line did: its exit code, what it printed, and whether it failed as it should."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

REFUSED = 3
TAMPERING = 4
UNUSABLE = 2
FAILED = 1
INTERRUPTED = 130
_NOBODY = 65534


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str

    @property
    def json(self):
        """The result that ``--json`` printed; nothing else is on either stream."""
        assert self.code == 0, self.err
        assert self.err == ""
        return json.loads(self.out)

    @property
    def shown(self) -> str:
        """What was printed on success, without the frames of tables and however it was wrapped."""
        assert self.code == 0, self.err
        assert self.err == ""
        return " ".join("".join(" " if character in "│┃┌┐└┘─┏┓┗┛━" else character for character in self.out).split())

    @property
    def error(self) -> dict[str, object]:
        """The error that a failure with ``--json`` printed, the last line of standard error."""
        content = json.loads(self.err.splitlines()[-1])["error"]
        assert content["exit_code"] == self.code
        return content

    def failed(self, code: int, reason: str, *mentions: object) -> None:
        """It failed with this code, told on one line that names the reason, the culprit and the remedy."""
        assert self.code == code, self.err
        assert self.err.count("\n") == 1, self.err
        assert self.err.startswith("Error: "), self.err
        assert self.err.endswith(f" [{reason}]\n"), self.err
        assert "Traceback" not in self.err
        for mention in mentions:
            assert str(mention) in self.err, self.err


@contextmanager
def nothing_written(folder: Path) -> Iterator[None]:
    """Whatever is done in here leaves everything below ``folder`` as it was, hidden files too."""
    before = contents(folder)
    yield
    after = contents(folder)
    changed = sorted(name for name in before | after if name not in before or before[name] != after.get(name, b"gone"))
    assert changed == [], changed


@contextmanager
def shut_out_of(folder: Path) -> Iterator[None]:
    """Whatever is done in here is done by an account that may not look into ``folder``."""
    was_root = os.geteuid() == 0
    folder.chmod(0)
    try:
        if was_root:
            os.seteuid(_NOBODY)
        yield
    finally:
        if was_root:
            os.seteuid(0)
        folder.chmod(0o700)


def contents(folder: Path) -> dict[str, bytes | None]:
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def flip(path: Path, position: int, bit: int = 1) -> None:
    """Alter one byte of a file."""
    data = bytearray(path.read_bytes())
    data[position] ^= bit
    path.write_bytes(data)


def respell(path: Path, position: int) -> None:
    """Alter one character of base64, to another that may stand there."""
    data = bytearray(path.read_bytes())
    data[position] = ord("B") if data[position] == ord("A") else ord("A")
    path.write_bytes(data)


def copy_of(folder: Path, target: Path) -> Path:
    shutil.copytree(folder, target)
    return target
