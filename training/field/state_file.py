"""Reads the small files in which a site keeps where it is. Knows how they are damaged, and not what they mean."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import msgspec

from secagg.errors import InputError
from secagg.files import read_bounded
from secagg.json_documents import MALFORMED

Schema = TypeVar("Schema", bound=msgspec.Struct)


def read_state(path: Path, schema: type[Schema], largest: int, *, reason: str, remedy: str) -> Schema | None:
    """What is in the file; None if there is none.

    Args:
        largest: bytes that it may have.
        reason, remedy: of the error, should it be damaged.

    Raises:
        InputError: ``unreadable``, ``file-too-large``, or the reason given.
    """
    if not path.exists():
        return None
    try:
        return msgspec.json.decode(read_bounded(path, largest), type=schema)
    except MALFORMED as error:
        raise InputError(reason, f"{path} cannot be read: {error}.", culprit=str(path), remedy=remedy) from error
