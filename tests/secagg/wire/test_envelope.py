"""An envelope is what its sender signed, or it is refused; whatever comes in, nothing else happens."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from functools import cache

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secagg.charter import VerifiedCharter
from secagg.errors import RemoteProtocolError
from secagg.identity import Identity
from secagg.labels import label
from secagg.masking.messages import (
    Advertise,
    Agree,
    Begin,
    Deal,
    Deals,
    Masked,
    Open,
    Propose,
    Refusal,
    Reveal,
    Roster,
    Sum,
    Unmask,
)
from secagg.wire import COORDINATOR, Envelope, Sealer, Stage, envelope, open_envelope
from secagg.wire.envelope import Header, decode, peek
from tests.support.consortium import make_charter, make_identities, sign_by_all

IDENTITIES = make_identities(4)
LIMIT = 1000
REVEAL = Reveal(bytes(32), bytes(32), b"a" * 64, b"b" * 32)


@cache
def charter() -> VerifiedCharter:
    return sign_by_all(make_charter(IDENTITIES), IDENTITIES)


@cache
def sealed() -> bytes:
    return Sealer(charter(), 2, IDENTITIES[1], epoch=3).seal(Stage.REVEAL, REVEAL, round=5)


def framed(header: Header, identity: Identity | None, body: bytes) -> bytes:
    """An envelope with any header, truthfully signed."""
    encoded = msgspec.msgpack.encode(header)
    signature = identity.sign(label("envelope", encoded)) if identity else b""
    return msgspec.msgpack.encode([encoded, signature, body])


def header(**changes: object) -> Header:
    body = msgspec.msgpack.encode(REVEAL)
    original = Header(1, charter().digest, 2, COORDINATOR, 3, 5, Stage.REVEAL, 0, hashlib.sha256(body).digest())
    return msgspec.structs.replace(original, **changes)


def reason(message: bytes, limit: int = LIMIT) -> str:
    with pytest.raises(RemoteProtocolError) as caught:
        open_envelope(message, charter(), limit)
    return caught.value.reason


def refused_with(changes: dict, identity: Identity | None = IDENTITIES[1]) -> str:
    return reason(framed(header(**changes), identity, msgspec.msgpack.encode(REVEAL)))


def test_a_sealed_message_opens_to_what_was_sealed():
    opened = open_envelope(sealed(), charter(), LIMIT)
    assert decode(opened.payload, Reveal) == REVEAL
    assert (opened.header.sender, opened.header.epoch, opened.header.round) == (2, 3, 5)
    assert opened.header.stage is Stage.REVEAL
    assert peek(sealed()) == opened.header


def test_the_helper_that_forges_headers_makes_the_very_bytes_of_the_sealer():
    assert framed(header(), IDENTITIES[1], msgspec.msgpack.encode(REVEAL)) == sealed()


def test_a_sender_counts_its_messages():
    sealer = Sealer(charter(), 1, IDENTITIES[0], epoch=1)
    messages = [sealer.seal(Stage.REVEAL, REVEAL) for _ in range(3)]
    assert [peek(message).sequence for message in messages] == [0, 1, 2]


def test_a_message_of_another_charter_is_refused():
    assert refused_with({"charter": bytes(32)}) == "other-charter"


@pytest.mark.parametrize("changes", [{"sender": 5}, {"recipient": 5}, {"sender": 1000}])
def test_a_member_that_is_not_in_the_charter_is_refused(changes):
    assert refused_with(changes) == "unknown-sender"


def test_a_hospital_cannot_send_what_the_coordinator_sends_nor_the_other_way_round():
    assert refused_with({"stage": Stage.SUM}) == "wrong-sender"
    assert refused_with({"sender": COORDINATOR}) == "wrong-sender"


@pytest.mark.parametrize("stage", Stage)
def test_every_stage_has_exactly_one_kind_of_sender(stage):
    sender = 2 if stage.sent_by_coordinator else COORDINATOR
    assert refused_with({"stage": stage, "sender": sender}) == "wrong-sender"
    truthful = header(stage=stage, sender=COORDINATOR if stage.sent_by_coordinator else 2)
    identity = None if stage.sent_by_coordinator else IDENTITIES[1]
    assert open_envelope(framed(truthful, identity, msgspec.msgpack.encode(REVEAL)), charter(), LIMIT)


def test_a_coordinators_message_that_carries_a_signature_is_malformed():
    for identity in (*IDENTITIES, Identity.from_seed(bytes(32))):
        assert refused_with({"stage": Stage.SUM, "sender": COORDINATOR}, identity) == "malformed"


@pytest.mark.parametrize("identity", [IDENTITIES[0], Identity.from_seed(bytes(32)), None])
def test_a_message_that_another_signed_is_refused(identity):
    assert refused_with({}, identity) == "bad-signature"


def test_a_payload_that_is_not_the_signed_one_is_refused():
    assert refused_with({"payload_digest": bytes(32)}) == "payload-altered"


@pytest.mark.parametrize(
    "changes",
    [
        {"version": 2},
        {"stage": 0},
        {"stage": 99},
        {"sender": -1},
        {"sender": 1001},
        {"epoch": 1 << 32},
        {"round": -1},
        {"charter": bytes(31)},
        {"payload_digest": bytes(33)},
        {"sequence": 1.5},
    ],
)
def test_a_header_outside_its_ranges_is_malformed(changes):
    assert refused_with(changes) == "malformed"


def test_an_envelope_that_is_written_in_another_way_is_malformed_though_all_in_it_is_as_it_was_signed():
    """It would have another hash: what a coordinator wrote so would not be in its sender's log."""
    fields = msgspec.msgpack.decode(sealed())
    spelt = [b"\x93", *map(msgspec.msgpack.encode, fields)]
    assert b"".join(spelt) == sealed()
    longer = [[b"\xdc\x00\x03"], *([b"\xc5" + len(field).to_bytes(2, "big") + field] for field in fields)]
    longer[0].append(b"\xdd\x00\x00\x00\x03")
    for place, field in enumerate(fields, 1):
        longer[place].append(b"\xc6" + len(field).to_bytes(4, "big") + field)
    others = [[*spelt[:place], other, *spelt[place + 1 :]] for place in range(4) for other in longer[place]]
    for other in others:
        assert msgspec.msgpack.decode(b"".join(other)) == fields
        assert reason(b"".join(other)) == "malformed"
        assert reason(memoryview(b"".join(other))) == "malformed"


def test_a_header_with_a_field_too_many_or_too_few_is_malformed():
    fields = msgspec.msgpack.decode(msgspec.msgpack.encode(header()))
    for wrong in (fields[:-1], [*fields, 0], dict(enumerate(fields))):
        message = msgspec.msgpack.encode([msgspec.msgpack.encode(wrong), bytes(64), b""])
        assert reason(message) == "malformed"


def test_a_header_longer_than_any_valid_one_is_refused_before_it_is_read():
    assert reason(msgspec.msgpack.encode([bytes(257), bytes(64), b""])) == "oversized"


def test_every_single_byte_change_of_a_signed_envelope_is_refused():
    original = sealed()
    for position in range(len(original)):
        for change in (1, 0x80, 0xFF):
            altered = bytearray(original)
            altered[position] ^= change
            reason(bytes(altered))


def test_without_signature_and_hash_the_same_changes_would_pass(monkeypatch):
    monkeypatch.setattr(envelope, "is_valid_signature", lambda *arguments: True)
    altered = sealed().replace(b"a" * 64, b"x" * 64)
    assert reason(altered) == "payload-altered"
    body = msgspec.msgpack.encode(Reveal(bytes(32), bytes(32), b"x" * 64, b"b" * 32))
    forged = framed(header(payload_digest=hashlib.sha256(body).digest()), None, body)
    assert decode(open_envelope(forged, charter(), LIMIT).payload, Reveal).seed_shares == b"x" * 64


def test_every_truncation_and_every_extension_is_refused():
    original = sealed()
    for length in range(len(original)):
        assert reason(original[:length]) == "malformed"
    assert reason(original + b"\x00") == "malformed"


def test_a_message_over_the_limit_is_refused_before_anything_is_read(monkeypatch):
    def never(*arguments, **settings):
        raise AssertionError("decoded")

    assert open_envelope(sealed(), charter(), LIMIT)
    monkeypatch.setattr(msgspec.msgpack, "decode", never)
    assert reason(bytes(LIMIT + 337)) == "oversized"
    with pytest.raises(AssertionError, match="decoded"):
        open_envelope(bytes(LIMIT + 336), charter(), LIMIT)


SCHEMAS = [Header, Open, Advertise, Roster, Deal, Deals, Begin, Masked, Propose, Agree, Unmask, Reveal, Sum, Refusal]


@settings(max_examples=400, deadline=None)
@given(data=st.binary(max_size=400))
def test_random_bytes_raise_a_remote_error_and_nothing_else(data):
    reason(data)
    for schema in SCHEMAS:
        with suppress(RemoteProtocolError):
            decode(data, schema)


@settings(max_examples=300, deadline=None)
@given(position=st.integers(0, 10_000), inserted=st.binary(max_size=6), removed=st.integers(0, 6))
def test_a_spliced_envelope_opens_only_if_it_is_the_original(position, inserted, removed):
    original = sealed()
    position %= len(original)
    spliced = original[:position] + inserted + original[position + removed :]
    if spliced != original:
        reason(spliced)


nested = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**63), 2**64 - 1), st.floats(), st.text(), st.binary()),
    lambda inner: st.one_of(st.lists(inner, max_size=10), st.dictionaries(st.text(), inner, max_size=3)),
    max_leaves=12,
)


@settings(max_examples=100, deadline=None)
@given(value=nested)
def test_well_formed_messagepack_of_any_shape_raises_a_remote_error_and_nothing_else(value):
    encoded = msgspec.msgpack.encode(value)
    reason(encoded)
    reason(msgspec.msgpack.encode([encoded, bytes(64), b""]))
    for schema in SCHEMAS:
        with suppress(RemoteProtocolError):
            decode(encoded, schema)


def test_nesting_deeper_than_the_stack_is_malformed():
    assert reason(b"\x91" * 900) == "malformed"
    for schema in SCHEMAS:
        with pytest.raises(RemoteProtocolError):
            decode(b"\x91" * 100_000, schema)


def test_an_envelope_cannot_be_made_by_hand():
    with pytest.raises(TypeError):
        Envelope(header(), memoryview(b""), b"", _by_opener=object())
