"""Records, one JSON object a line: appended to, never rewritten. A coordinator keeps its rounds so.

Knows lines and files. A line that a kill or a full disk cut off is no line: it is passed over, and the next takes its
place.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final, Generic, TypeVar

import msgspec

from secagg.errors import SecaggError
from secagg.files import PRIVATE, read_bounded, sync, unwritable
from secagg.json_documents import MALFORMED

# A thousand members' names are 25 KB a round: more rounds than any training has.
_LARGEST: Final = 1 << 34

Record = TypeVar("Record")


class JsonLines(Generic[Record]):
    """The file at ``path``, which need not be there yet: read when its records are first asked for.

    Holds it open no longer than a call.

    Args:
        damaged: makes the error of a line that is no record, from what is wrong with which file.
        mode: of the file, where it is made.
    """

    def __init__(
        self, path: Path, record: type[Record], damaged: Callable[[str], SecaggError], mode: int = PRIVATE
    ) -> None:
        self._path = path
        self._mode = mode
        self._record = record
        self._damaged = damaged
        self._end = 0
        self._records: tuple[Record, ...] | None = None

    @property
    def records(self) -> tuple[Record, ...]:
        """Every record, in order, as of the last reading or appending.

        Raises:
            InputError: ``unreadable``, ``file-too-large``.
            SecaggError: that of damage.
        """
        if self._records is None:
            self._records = self._read()
        return self._records

    def read_on(self) -> tuple[Record, ...]:
        """Read what another process has added, and nothing before it; what that is.

        Raises:
            SecaggError: as `records`.
        """
        before, added = self.records, self._read()
        self._records = before + added
        return added

    def _read(self) -> tuple[Record, ...]:
        """Those after what was read before."""
        lines = read_bounded(self._path, _LARGEST, self._end).split(b"\n")[:-1] if self._path.exists() else []
        try:
            records = tuple(msgspec.json.decode(line, type=self._record) for line in lines)
        except MALFORMED as error:
            raise self._damaged(f"{self._path} cannot be read: {error}.") from error
        self._end += sum(len(line) + 1 for line in lines)
        return records

    def append(self, record: Record) -> None:
        """Add one, durably.

        Raises:
            SecaggError: ``unwritable``; as `records`.
        """
        before, line = self.records, msgspec.json.encode(record) + b"\n"
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with os.fdopen(os.open(self._path, os.O_WRONLY | os.O_CREAT, self._mode), "wb") as file:
                file.truncate(self._end)
                file.seek(self._end)
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
            sync(self._path.parent)
        except OSError as error:
            raise unwritable(self._path, error) from error
        self._end += len(line)
        self._records = (*before, record)
