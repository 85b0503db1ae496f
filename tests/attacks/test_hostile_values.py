"""No field is forgotten: every one of a charter, a header and a message has values that it must not have."""

from __future__ import annotations

import msgspec
import pytest

from secagg.charter import Charter
from secagg.wire import Header, Stage
from training.attacks import charters, fields, hospitals
from training.attacks.hostile import ENCRYPTED_PAYLOADS, PAYLOADS, fields_of, impossible
from training.attacks.wire import HOSTILE_HEADERS

SCHEMES = {"plain": PAYLOADS, "encrypted": ENCRYPTED_PAYLOADS}
FIELDS = [
    (scheme, stage, field)
    for scheme, payloads in SCHEMES.items()
    for stage in payloads
    for field in fields_of(stage, payloads)
    if payloads[stage] is not PAYLOADS[stage] or payloads is PAYLOADS
]


def test_every_field_of_a_charter_has_hostile_values_and_no_other_has():
    assert set(charters.HOSTILE) == set(charters.charter_fields())
    assert all(charters.HOSTILE.values())


def test_a_new_field_of_a_charter_would_be_noticed():
    class Longer(Charter, frozen=True, kw_only=True):
        surprise: int = 0

    assert "surprise" in set(charters.charter_fields(Longer)) - set(charters.HOSTILE)


def test_fields_are_found_in_every_section_of_a_charter():
    found = set(charters.charter_fields())
    assert {"members", "members.public_key", "training.server.tau", "privacy.mode", "metrics.target"} <= found


def test_every_field_of_a_header_has_hostile_values_and_no_other_has():
    assert set(HOSTILE_HEADERS) == set(Header.__struct_fields__)
    assert all(HOSTILE_HEADERS.values())


def test_every_message_has_a_schema_that_hostile_values_are_made_of():
    assert set(PAYLOADS) == set(Stage)


@pytest.mark.parametrize(("scheme", "stage", "field"), FIELDS, ids=lambda value: getattr(value, "name", value))
def test_what_a_schema_does_not_allow_is_not_read(scheme, stage, field):
    payloads = SCHEMES[scheme]
    (kind,) = (known.type for known in msgspec.structs.fields(payloads[stage]) if known.name == field)
    values = impossible(stage, field, payloads)
    assert len(values) > 2
    for value in values:
        with pytest.raises((msgspec.ValidationError, UnicodeDecodeError)):
            msgspec.msgpack.decode(msgspec.msgpack.encode(value), type=kind)


def test_values_that_are_hostile_by_content_are_for_fields_that_there_are():
    for table in (fields.HOSTILE, hospitals.HOSTILE):
        for stage, field in table:
            assert field in {*fields_of(stage), *fields_of(stage, ENCRYPTED_PAYLOADS)}
