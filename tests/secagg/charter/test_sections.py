"""A setting that two charters could have with one hash is refused."""

from __future__ import annotations

import pytest

from secagg.charter import (
    TaskChoice,
    sections,
)
from secagg.errors import InputError
from tests.support.consortium import make_charter, make_identities

IDENTITIES = make_identities(5)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None, b"bytes", object(), {"deep": [float("-inf")]}])
def test_a_setting_that_json_cannot_tell_apart_is_refused(value):
    with pytest.raises(InputError) as caught:
        TaskChoice(kind="any", settings={"a": value})
    assert caught.value.reason == "unsupported-setting"


def test_without_that_check_two_different_settings_would_have_one_hash(monkeypatch):
    monkeypatch.setattr(sections, "_check_setting", lambda *_: None)
    digests = {
        make_charter(IDENTITIES, task=TaskChoice(kind="any", settings={"a": value})).digest()
        for value in (float("nan"), float("inf"), None)
    }
    assert len(digests) == 1
