"""However a document in JSON is broken, what is raised is known; and people can read what is written for them."""

from __future__ import annotations

import msgspec
import pytest

from secagg.json_documents import MALFORMED, json_for_people


class Note(msgspec.Struct, frozen=True):
    text: str
    page: int = 1


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"[]", b'{"text": 3}', b"\xff", b'{"text": "\xff"}', b'{"text": "", "more": ' + b"[" * 100_000],
    ids=["empty", "cut off", "a list", "a number", "bytes", "not UTF-8", "lists in lists"],
)
def test_what_is_no_such_document_is_malformed(data):
    with pytest.raises(MALFORMED):
        msgspec.json.decode(data, type=Note)


def test_what_people_look_at_is_indented_and_can_be_read_again():
    note = Note("hello", 3)
    assert json_for_people(note) == b'{\n "text": "hello",\n "page": 3\n}\n'
    assert msgspec.json.decode(json_for_people(note), type=Note) == note


def test_with_sorted_keys_equal_content_gives_equal_bytes():
    there, back = {"a": 1, "b": 2}, {"b": 2, "a": 1}
    assert json_for_people(there) != json_for_people(back)
    assert json_for_people(there, "sorted") == json_for_people(back, "sorted")
