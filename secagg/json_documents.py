"""JSON that comes from outside, and JSON that people look at. Knows no document."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

# What msgspec raises where a document does not fit its schema. Beside its own error there are Python's: for bytes that
# are not UTF-8, and for lists in lists without end, in a field that the schema does not know or before the one that
# says which schema it is. MessagePack's decoder raises the same.
MALFORMED: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def json_for_people(content: object, order: Literal["sorted"] | None = None) -> bytes:
    """A document indented, with a line break at its end; with sorted keys, equal content gives equal bytes."""
    return msgspec.json.format(msgspec.json.encode(content, order=order), indent=1) + b"\n"
