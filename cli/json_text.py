"""JSON as it is printed, whatever names are in it. Loads little else of this project."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec

from secagg.printable import printable


def json_text(content: object, hook: Callable[[Any], Any] | None = None) -> bytes:
    """One line of UTF-8. A byte of a file's name that is none is written as ``\\\\udcff``, as on the terminal.

    What a terminal would act on or not show is escaped: it is the same JSON.

    Args:
        hook: what msgspec asks of a type that it does not know.
    """
    return _escaped(_encoded(content, hook).decode()).encode()


def _encoded(content: object, hook: Callable[[Any], Any] | None) -> bytes:
    try:
        return msgspec.json.encode(content, enc_hook=hook)
    except UnicodeEncodeError:
        return msgspec.json.encode(_spelt(msgspec.to_builtins(content, enc_hook=hook)))


def _escaped(text: str) -> str:
    """Outside of strings there is nothing to escape."""
    if text.isprintable():
        return text
    return "".join(sign if printable(sign) == sign else json.dumps(sign)[1:-1] for sign in text)


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
