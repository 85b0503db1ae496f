"""The charter as a TOML file that a person can read before signing.

Knows how a charter is written and read. What a charter means is in `secagg.charter.model`.
"""

from __future__ import annotations

import msgspec
import tomlkit
import tomlkit.items

from secagg.charter.model import Charter
from secagg.errors import InputError
from secagg.identity import fingerprint
from secagg.toml_text import read_toml

LARGEST_CHARTER = 4 * 1024 * 1024
_LONG_ARRAY = 4
_HEADER = "What the members of this consortium agree on. Signed by each: any change needs new signatures."


def parse_charter(text: bytes) -> Charter:
    """Read a charter.

    Raises:
        InputError: ``malformed-charter``, or whatever the charter contradicts itself in.
    """
    if len(text) > LARGEST_CHARTER:
        raise InputError(
            "malformed-charter",
            f"The charter is larger than {LARGEST_CHARTER} bytes.",
            remedy="It is probably not the file you meant.",
        )
    try:
        return msgspec.convert(read_toml(text.decode()), Charter)
    except InputError:
        raise
    except msgspec.ValidationError as error:
        raise _malformed(_in_words(error)) from error
    except ValueError as error:
        raise _malformed(f"The charter cannot be read: {error}.") from error


def render_charter(charter: Charter) -> bytes:
    """The charter as TOML; `parse_charter` gives the same charter back."""
    content = msgspec.to_builtins(charter, order="sorted")
    scalars = {key: value for key, value in content.items() if key != "members" and not isinstance(value, dict)}
    sections = {key: value for key, value in content.items() if isinstance(value, dict)}
    document = tomlkit.document()
    document.add(tomlkit.comment(_HEADER))
    document.update(_without_none(scalars))
    for name, section in sections.items():
        document.add(tomlkit.nl())
        table = tomlkit.item(_without_none(section))
        _break_long_arrays(table)
        document.add(name, table)
    members = [
        _render_member(f"fingerprint {fingerprint(member.public_key)}", entry)
        for member, entry in zip(charter.members, content["members"], strict=True)
    ]
    return "\n".join([tomlkit.dumps(document), *members]).encode()


def _render_member(comment: str, entry: dict[str, object]) -> str:
    # As text: of a large consortium, a document takes ten times as long, and every release holds its charter.
    lines = [f"{key} = {tomlkit.item(value).as_string()}\n" for key, value in entry.items()]
    return "".join([f"[[members]] # {comment}\n", *lines])


def _malformed(message: str) -> InputError:
    return InputError("malformed-charter", message, remedy="`secagg charter new` writes a valid one.")


def _in_words(error: msgspec.ValidationError) -> str:
    """Of "Expected `int` >= 1 - at `$.training.rounds`": which field it is, and what it must be."""
    what, _, where = str(error).replace("`", "").partition(" - at $.")
    what = what[:1].lower() + what[1:]
    return f"The charter's {where} is not valid: {what}." if where else f"The charter cannot be read: {what}."


def _break_long_arrays(table: tomlkit.items.Table | tomlkit.items.InlineTable) -> None:
    for value in table.values():
        if isinstance(value, (tomlkit.items.Table, tomlkit.items.InlineTable)):
            _break_long_arrays(value)
        elif isinstance(value, tomlkit.items.Array) and len(value) > _LONG_ARRAY:
            value.multiline(multiline=True)


def _without_none(table: dict[str, object]) -> dict[str, object]:
    return {key: value for key, value in table.items() if value is not None}
