"""TOML that others may have written, read within bounds of time and memory.

Knows how TOML is spelt (toml.io, version 1.0), and of `tomllib` where it takes more than a text is long. Knows nothing
of what is in it.
"""

from __future__ import annotations

import re
import tomllib
from typing import Any, Final

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
