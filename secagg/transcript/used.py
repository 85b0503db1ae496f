"""Which numbers of epochs and rounds a transcript has used: a coordinator that forgot them uses none a second time.

Knows files and events. Judges nothing.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Final

from secagg.errors import InputError, TamperingError
from secagg.masking.journal import Begun, Opened
from secagg.transcript.files import epoch_of, read_short_events, transcript_files

_LONGEST: Final = 8192
"""More bytes than `Opened` or `Begun` has, with a thousand members. Updates and sums, which may be gigabytes, have
more."""


def newest_epoch(folder: Path) -> int:
    """The largest number of an epoch that has a file; 0 if none has."""
    path = _newest_file(folder)
    return epoch_of(path) if path else 0


def last_round(folder: Path) -> int:
    """The last round that was begun by the end of the newest epoch, as far as its file can be read; 0 if none was.

    Reads little of the file, however large: the numbers are in short events.

    Raises:
        InputError: ``unreadable``.
    """
    path, last = _newest_file(folder), 0
    if path is None:
        return last
    with suppress(TamperingError):
        for event in read_short_events(path, _LONGEST):
            match event:
                case Opened():
                    last = max(last, event.first_round - 1)
                case Begun():
                    last += 1
    return last


def _newest_file(folder: Path) -> Path | None:
    with suppress(InputError):
        return max(transcript_files(folder), key=epoch_of)
    return None
