"""The coordinator's record of every round, one JSON object a line: appended to, never rewritten.

Knows lines and files. A line that a kill or a full disk cut off is no line: it is passed over, and the next takes its
place.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import msgspec

from secagg.errors import TamperingError
from secagg.files import PRIVATE, read_bounded, sync_folder, unwritable
from training.report import RoundRecord

# A thousand members' names are 25 KB a round: more rounds than any training has.
_LARGEST: Final = 1 << 34


class RoundLog:
    """The file at ``path``, which need not be there yet. Holds it open no longer than a call.

    Attributes:
        rounds: every round, in order.

    Raises:
        InputError: ``unreadable``, ``file-too-large``.
        TamperingError: ``damaged-coordinator-state``.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        data = read_bounded(path, _LARGEST) if path.exists() else b""
        self._end = data.rfind(b"\n") + 1
        try:
            lines = data[: self._end].split(b"\n")[:-1]
            self.rounds = tuple(msgspec.json.decode(line, type=RoundRecord) for line in lines)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise TamperingError(
                "damaged-coordinator-state",
                f"{path} cannot be read: {error}.",
                culprit=str(path),
                remedy="Put back a copy of it, or remove it: the transcript has the rounds too.",
            ) from error

    def append(self, record: RoundRecord) -> None:
        """Add a round, durably.

        Raises:
            InputError: ``unwritable``.
        """
        line = msgspec.json.encode(record) + b"\n"
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with os.fdopen(os.open(self._path, os.O_WRONLY | os.O_CREAT, PRIVATE), "wb") as file:
                file.truncate(self._end)
                file.seek(self._end)
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
            sync_folder(self._path.parent)
        except OSError as error:
            raise unwritable(self._path, error) from error
        self._end += len(line)
        self.rounds = (*self.rounds, record)
