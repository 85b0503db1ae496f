"""TOML that others may have written, read within bounds of time and memory; and TOML that people are to read.

Knows how TOML is spelt (toml.io, version 1.0), and of `tomllib` where it takes more than a text is long. Knows nothing
of what is in it.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from typing import Any, Final

import tomli_w

# Of a dotted key tomllib keeps every beginning: a hundred kilobytes of "a.a.a." would be gigabytes.
_MOST_PARTS: Final = 32
# What is not closed counts to its end, where tomllib refuses it: nothing is looked at twice, whatever the text.
_STRINGS_AND_COMMENTS: Final = re.compile(
    r'"""(?:[^"\\]|\\.|"{1,2}(?!"))*+(?:"{3,5})?'
    r"|'''(?:[^']|'{1,2}(?!'))*+(?:'{3,5})?"
    r'|"(?:[^"\\\n]|\\.)*+"?'
    r"|'[^'\n]*+'?"
    r"|#[^\n]*+",
    re.DOTALL,
)
_LONG_KEY: Final = re.compile(rf'(?:\.[\w"-]*+){{{_MOST_PARTS}}}')
# As tomli-w writes arrays, an element a line, none of which is an array or a table; a string is always on one line.
_SHORT_ARRAY: Final = re.compile(r"= \[\n((?:    [^\s\[{].*,\n){1,4})\]")
_BLANKS: Final = dict.fromkeys(map(ord, " \t"))


def read_toml(text: str) -> dict[str, Any]:
    """What a TOML document says.

    Raises:
        ValueError: for what is none, for a key of more than 32 parts, and for what is nested too deeply.
    """
    if _LONG_KEY.search(_STRINGS_AND_COMMENTS.sub('""', text).translate(_BLANKS)):
        raise ValueError(f"a key has more than {_MOST_PARTS} parts")
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise ValueError("values are nested too deeply") from error


def write_toml(content: Mapping[str, Any]) -> str:
    """``content`` as a TOML document, short arrays on one line; what is None is left out, in sections too."""
    return _SHORT_ARRAY.sub(_on_one_line, tomli_w.dumps(_without_none(content)))


def _on_one_line(array: re.Match[str]) -> str:
    # Not splitlines: within a string, other characters that it would split at may stand as they are.
    elements = [line[4:-1] for line in array[1].split("\n")[:-1]]
    return f"= [{', '.join(elements)}]"


def _without_none(table: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: _without_none(value) if isinstance(value, dict) else value
        for key, value in table.items()
        if value is not None
    }
