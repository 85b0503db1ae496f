"""The charter as a TOML file that a person can read before signing.

Knows how a charter is written and read. What a charter means is in `secagg.charter.model`.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from secagg.charter.model import Charter
from secagg.errors import InputError
from secagg.identity import fingerprint
from secagg.toml_text import read_toml, write_toml

LARGEST_CHARTER = 4 * 1024 * 1024
_HEADING: Final = re.compile(r"^[ \t]*\[\[([^\]\n#]*)\]\][ \t]*(?:#(.*?))?\r?$", re.MULTILINE)
_HEADER = "What the members of this consortium agree on. Signed by each: any change needs new signatures."


def parse_charter(text: bytes) -> Charter:
    """Read a charter.

    Raises:
        InputError: ``malformed-charter``, ``false-fingerprint``, or whatever the charter contradicts itself in.
    """
    if len(text) > LARGEST_CHARTER:
        raise InputError(
            "malformed-charter",
            f"The charter is larger than {LARGEST_CHARTER} bytes.",
            remedy="It is probably not the file you meant.",
        )
    try:
        content = text.decode()
        charter = msgspec.convert(read_toml(content), Charter)
    except InputError:
        raise
    except msgspec.ValidationError as error:
        raise _malformed(_in_words(error)) from error
    except ValueError as error:
        raise _malformed(f"The charter cannot be read: {error}.") from error
    _require_true_fingerprints(content, charter)
    return charter


def render_charter(charter: Charter) -> bytes:
    """The charter as TOML; `parse_charter` gives the same charter back."""
    content = msgspec.to_builtins(charter, order="sorted")
    entries = content.pop("members")
    members = [
        f"[[members]] # fingerprint {fingerprint(member.public_key)}\n{write_toml(entry)}"
        for member, entry in zip(charter.members, entries, strict=True)
    ]
    return "\n".join([f"# {_HEADER}\n{write_toml(content)}", *members]).encode()


def _require_true_fingerprints(content: str, charter: Charter) -> None:
    """Beside each member stands its own key's fingerprint, or nothing: people compare it, and nobody signs comments."""
    beside = [shown for name, shown in _HEADING.findall(content) if _is_of_members(name)]
    if len(beside) not in (0, len(charter.members)):
        # What looks like a heading and is none, as within a text, would have each held against another's key.
        raise _malformed(f"The charter has {len(charter.members)} members, and {len(beside)} lines that begin one.")
    for shown, member in zip(beside, charter.members, strict=False):
        true = f"fingerprint {fingerprint(member.public_key)}"
        if shown.strip() not in ("", true):
            raise InputError(
                "false-fingerprint",
                f"Beside {member.name} the charter's file says {shown.strip()!r}, and not {true!r}.",
                culprit=member.name,
                remedy="Ask whoever wrote the file. Comments are not signed: without them it is the same charter, and "
                "`secagg charter show` prints every key's own fingerprint.",
            )


def _is_of_members(name: str) -> bool:
    """Whether a heading with this name begins a member: it can be written in quotation marks too."""
    if not name.lstrip().startswith(("'", '"')):
        return name.strip() == "members"
    try:
        return read_toml(f"[[{name}]]") == {"members": [{}]}
    except ValueError:
        return False


def _malformed(message: str) -> InputError:
    return InputError("malformed-charter", message, remedy="`secagg charter new` writes a valid one.")


def _in_words(error: msgspec.ValidationError) -> str:
    """Of "Expected `int` >= 1 - at `$.training.rounds`": which field it is, and what it must be."""
    what, _, where = str(error).replace("`", "").partition(" - at $.")
    what = what[:1].lower() + what[1:]
    return f"The charter's {where} is not valid: {what}." if where else f"The charter cannot be read: {what}."
