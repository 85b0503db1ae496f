"""The policy as a TOML file that a person edits: read with errors that name the line, the key and the remedy.

Knows how a policy is written. What it means is in `secagg.policy.model`.
"""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import get_args

import msgspec

from secagg.charter.sections import PrivacyMode, Scheme
from secagg.errors import InputError
from secagg.files import read_bounded
from secagg.policy.model import Countersigning, ExactMetrics, Policy
from secagg.toml_text import read_toml, write_toml
from secagg.utf8 import first_undecodable

LARGEST_POLICY = 256 * 1024
POLICY_FILE = "policy.toml"
_UNKNOWN = re.compile(r"unknown field `(?P<key>[^`]*)`")
_DECIMAL_COMMA = re.compile(r"^[ \t]*[\w-]+[ \t]*=[ \t]*(?P<whole>\d+),(?P<fraction>\d+)", re.MULTILINE)
_TYPE = re.compile(r"`(?P<type>float|int|str|array|object|bool|null)(?: \| null)?`")
_IN_WORDS = {
    "float": "a number",
    "int": "a whole number",
    "str": "text in quotation marks",
    "array": "a list in brackets",
    "object": "a section",
    "bool": "true or false",
    "null": "nothing",
}
_CHOICES = {
    "allowed_schemes": get_args(Scheme),
    "allowed_privacy_modes": get_args(PrivacyMode),
    "release_exact_metrics": get_args(ExactMetrics),
}
_NO_CHOICE = re.compile(r"^Invalid enum value (?P<value>'.*')$", re.DOTALL)
_NO_VALUE = re.compile(r"^Invalid value \(at line (?P<line>\d+), column \d+\)$")
_KEYS = (*Policy.__struct_fields__, *Countersigning.__struct_fields__)
_SET = re.compile(rf"^[ \t]*(?P<key>{'|'.join(_KEYS)})[ \t]*=", re.MULTILINE)
_PLACE = re.compile(r" - at `\$\.(?P<key>[a-z_]+)[^`]*`$")


def read_policy(path: Path) -> Policy:
    """What a policy file says, whether it may be in force or not; the strict defaults where there is none.

    Raises:
        InputError: ``malformed-policy``, naming line and key where there are such; ``unreadable``.
    """
    if not path.exists():
        return Policy()
    data = read_bounded(path, LARGEST_POLICY)
    text = ""
    try:
        text = data.decode("utf-8-sig")
        return msgspec.convert(read_toml(text), Policy)
    except msgspec.ValidationError as error:
        raise _malformed(path, *_in_words(text, error)) from error
    except UnicodeDecodeError as error:
        line = first_undecodable(data.splitlines())
        raise _malformed(path, f"line {line} is not UTF-8 text", "Save the file as UTF-8.") from error
    except ValueError as error:
        if comma := _DECIMAL_COMMA.search(text):
            line = text[: comma.end()].count("\n") + 1
            whole, fraction = comma["whole"], comma["fraction"]
            # In English a comma stands before each three digits of a whole number.
            thousands = f" If thousands are meant, write {whole}{fraction}." if len(fraction) == 3 else ""
            remedy = f"Write a point: {whole}.{fraction}.{thousands}"
            raise _malformed(path, f"line {line} has a number with a comma", remedy) from error
        raise _malformed(path, *_no_value(text, str(error))) from error


def render_policy(policy: Policy) -> bytes:
    """The policy as TOML; `read_policy` gives the same policy back."""
    text = write_toml(msgspec.to_builtins(policy, order="sorted"))
    return f"# What this site accepts. Local: never sent to anybody.\n{text}".encode()


def line_of(text: str, key: str) -> int | None:
    """The line, from 1, on which ``key`` is set; None if it is not."""
    found = re.search(rf"^\s*\[?\s*[\"']?{re.escape(key)}[\"']?\s*(=|\])", text, re.MULTILINE)
    return text[: found.end()].count("\n") + 1 if found else None


def _in_words(text: str, error: msgspec.ValidationError) -> tuple[str, str]:
    """Of "Expected `int` >= 2 - at `$.minimum_cohort`": the line, the key and what it must be; and what to do."""
    told = str(error)
    unknown, place = _UNKNOWN.search(told), _PLACE.search(told)
    key = unknown["key"] if unknown else place["key"] if place else ""
    line = line_of(text, key)
    where = f"line {line}, " if line else ""
    if unknown:
        near = difflib.get_close_matches(key, _KEYS, 1)
        remedy = f"Write {near[0]}." if near else f"Leave it out: a policy knows {', '.join(Policy.__struct_fields__)}."
        return f"{where}{key}: there is no such key", remedy
    what = _PLACE.sub("", told)
    if key in _CHOICES and (other := _NO_CHOICE.match(what)):
        *most, last = _CHOICES[key]
        return f"{where}{key}: there is no {other['value']}", f"Write {', '.join(most)} or {last}."
    what = _TYPE.sub(lambda found: _IN_WORDS[found["type"]], what).replace("`", "")
    return (f"{where}{key}: {what[:1].lower()}{what[1:]}", "") if key else (what, "")


def _no_value(text: str, told: str) -> tuple[str, str]:
    """Of "Invalid value (at line 9, column 18)": the line, the key that is set there or began above, and what to do."""
    place = _NO_VALUE.match(told)
    before = text.split("\n")[: int(place["line"])] if place else []
    keys = [found["key"] for found in _SET.finditer("\n".join(before))]
    if not place or not keys:
        return told, ""
    return f"line {place['line']}, {keys[-1]}: invalid value", "Write numbers in digits, and text in quotation marks."


def _malformed(path: Path, what: str, remedy: str) -> InputError:
    return InputError(
        "malformed-policy",
        f"The policy {path} cannot be read: {what.rstrip('.')}.",
        culprit=str(path),
        remedy=f"{remedy} Nothing is trained until it is mended.".strip(),
    )
