"""A site's own log: one JSON object a line, to be read by people and by whatever collects logs there.

Knows files and Python's logging. What is logged is what errors say and what was done, never what was sent.
"""

from __future__ import annotations

import logging
import logging.handlers
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from pathlib import Path
from typing import Final, cast

import msgspec

from secagg.errors import SecaggError
from secagg.files import PRIVATE, unwritable

LOGGER: Final = "secagg.site"
_LARGEST = 8 * 1024 * 1024
_KEPT = 4


class JsonLines(logging.Formatter):
    """Formats a record as one JSON object: time, level, event, and whatever fields it was given."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        content = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info and record.exc_info[0]:
            # The kind and place of an unexpected error, not its text: that may quote a record.
            content["error"] = record.exc_info[0].__name__
            content["at"] = self._places(record)
        return msgspec.json.encode(content).decode()

    def _places(self, record: logging.LogRecord) -> list[str]:
        places, frame = [], record.exc_info[2] if record.exc_info else None
        while frame:
            code = frame.tb_frame.f_code
            places.append(f"{Path(code.co_filename).name}:{frame.tb_lineno} {code.co_name}")
            frame = frame.tb_next
        return places


class _PrivateFileHandler(logging.handlers.RotatingFileHandler):
    """Opens every file for this account only: the first, and each that follows when it is full."""

    def _open(self) -> TextIOWrapper:
        descriptor = os.open(self.baseFilename, os.O_CREAT | os.O_APPEND | os.O_WRONLY, PRIVATE)
        return cast(TextIOWrapper, os.fdopen(descriptor, self.mode, encoding="utf-8"))

    def handleError(self, _record: logging.LogRecord) -> None:  # noqa: N802 - Python's name
        """Say by its kind why a line could not be written; Python would print the text of what was to be logged."""
        kind = sys.exc_info()[0]
        with suppress(OSError):
            print(f"{self.baseFilename} lacks a line: {kind.__name__ if kind else 'unknown'}", file=sys.stderr)


@contextmanager
def site_log(path: Path) -> Iterator[logging.Logger]:
    """The site's log, appended to, 0600, rotated; one process at a time.

    Raises:
        InputError: ``unwritable``.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handler = _PrivateFileHandler(path, maxBytes=_LARGEST, backupCount=_KEPT)
    except OSError as error:
        raise unwritable(path, error) from error
    handler.setFormatter(JsonLines())
    logger = logging.Logger(LOGGER)
    logger.addHandler(handler)
    try:
        yield logger
    finally:
        # What a full disk has no room for is no reason to fail, nor to hide what did.
        with suppress(OSError):
            handler.close()


def fields_of(error: SecaggError) -> dict[str, object]:
    """An error as fields of a log line; give it as ``extra``."""
    return {"fields": {key: value for key, value in error.fields().items() if value is not None}}
