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
    """The file at ``path``, which need not be there yet: read when its rounds are first asked for.

    Holds it open no longer than a call.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._end = 0
        self._rounds: tuple[RoundRecord, ...] | None = None

    @property
    def rounds(self) -> tuple[RoundRecord, ...]:
        """Every round, in order, as of the last reading or appending.

        Raises:
            InputError: ``unreadable``, ``file-too-large``.
            TamperingError: ``damaged-coordinator-state``.
        """
        if self._rounds is None:
            self._rounds = self._read()
        return self._rounds

    def read_on(self) -> tuple[RoundRecord, ...]:
        """Read what another process has added, and nothing before it; what that is.

        Raises:
            InputError, TamperingError: as `rounds`.
        """
        before, added = self.rounds, self._read()
        self._rounds = before + added
        return added

    def _read(self) -> tuple[RoundRecord, ...]:
        """The rounds after those that were read before."""
        lines = read_bounded(self._path, _LARGEST, self._end).split(b"\n")[:-1] if self._path.exists() else []
        try:
            records = tuple(msgspec.json.decode(line, type=RoundRecord) for line in lines)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise TamperingError(
                "damaged-coordinator-state",
                f"{self._path} cannot be read: {error}.",
                culprit=str(self._path),
                remedy="Put back a copy of it, or remove it: the transcript has the rounds too.",
            ) from error
        self._end += sum(len(line) + 1 for line in lines)
        return records

    def append(self, record: RoundRecord) -> None:
        """Add a round, durably.

        Raises:
            InputError: ``unwritable``; with TamperingError, as `rounds`.
        """
        before, line = self.rounds, msgspec.json.encode(record) + b"\n"
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
        self._rounds = (*before, record)
