"""JSON as it is printed, whatever names are in it. Loads nothing else of this project."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec


def json_text(content: object, hook: Callable[[Any], Any] | None = None) -> bytes:
    """One line of UTF-8. A byte of a file's name that is none is written as ``\\\\udcff``, as on the terminal.

    Args:
        hook: what msgspec asks of a type that it does not know.
    """
    try:
        return msgspec.json.encode(content, enc_hook=hook)
    except UnicodeEncodeError:
        return msgspec.json.encode(_spelt(msgspec.to_builtins(content, enc_hook=hook)))


def _spelt(value: object) -> object:
    match value:
        case str():
            return value.encode("utf-8", "backslashreplace").decode()
        case dict():
            return {_spelt(key): _spelt(item) for key, item in value.items()}
        case list() | tuple():
            return [_spelt(item) for item in value]
        case _:
            return value
