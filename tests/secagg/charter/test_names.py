"""What a charter can hold as a name, and what it cannot."""

from __future__ import annotations

import msgspec
import pytest

from secagg.charter import parse_charter, render_charter
from secagg.charter.names import check_name
from secagg.errors import InputError
from tests.support.consortium import make_charter, make_identities

IDENTITIES = make_identities(5)


@pytest.mark.parametrize("name", ["", "two words", "line\n", "-first", "a" * 65, "é", "a/b"])
def test_a_member_name_with_unexpected_characters_is_refused(name):
    text = render_charter(make_charter(IDENTITIES)).decode().replace('"h2"', msgspec.json.encode(name).decode())
    with pytest.raises(InputError) as caught:
        parse_charter(text.encode())
    assert caught.value.reason == "malformed-charter"


@pytest.mark.parametrize("name", ["", "two words", "line\n", "-first", "a" * 65, "é", "a/b", "..", "../out"])
def test_a_name_that_no_charter_can_hold_is_refused_with_what_a_name_may_be(name):
    with pytest.raises(InputError) as caught:
        check_name(name, "a hospital")
    assert (caught.value.reason, caught.value.culprit) == ("bad-name", name)
    assert "a hospital" in caught.value.message
    assert "letters" in caught.value.remedy


@pytest.mark.parametrize("name", ["h1", "9", "St.Mary", "a-b_c", "a" * 64])
def test_a_name_that_a_charter_can_hold_is_accepted(name):
    check_name(name, "a hospital")
