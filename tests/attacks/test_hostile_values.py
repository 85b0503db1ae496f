"""No field is forgotten: every one of a charter, a header and a message has values that it must not have."""

from __future__ import annotations

from collections import defaultdict

import msgspec
import numpy as np
import pytest

from secagg.charter import Charter
from secagg.wire import Header, Stage
from tests.support.consortium import Consortium
from training.attacks import charters, fields, hospitals
from training.attacks.hostile import ENCRYPTED_PAYLOADS, PAYLOADS, fields_of, impossible
from training.attacks.model import Refuser, Tries
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


# --- For what each field of a round is refused -----------------------------------------------------------------

# Beside "malformed", for which what its schema does not allow is. Where the scheme is told, the other lacks the field,
# or has another limit for it.
REFUSED_BY_A_HOSPITAL = {
    "OPEN.purpose": "",
    "OPEN.first_round": "stale-round",
    "OPEN.rounds": "epoch-too-long",
    "ROSTER.participants": "below-threshold malformed-survivors unexpected-message unknown-survivor",
    "ROSTER.advertisements": "keys-missing own-keys-altered unexpected-message",
    "DEALS.deals": "deals-missing duplicate",
    "BEGIN.step": "",
    "PROPOSE.survivors": "below-threshold malformed-survivors not-a-survivor unknown-survivor",
    "UNMASK.survivors": "below-threshold malformed-survivors not-a-survivor unknown-survivor",
    "UNMASK.inputs_digest": "",
    "UNMASK.agreements": "no-agreement",
    "SUM.step": "step-changed",
    "SUM.survivors": "below-threshold malformed-survivors survivors-changed unknown-survivor",
    "SUM.model_digest": "",
    "SUM.tag": "wrong-length",
    "SUM.vector of mask": "oversized wrong-length",
    "SUM.vector of double-lock": "wrong-length",
    "SUM.contributions of double-lock": "contributors-missing forged-contribution",
    "SUM.reveals of double-lock": "duplicate too-few-revealed unreadable-shares",
}
REFUSED_BY_THE_COORDINATOR = {
    "ADVERTISE.share_key": "weak-key",
    "ADVERTISE.mask_keys": "weak-key wrong-length",
    "ADVERTISE.seed_commitments": "wrong-length",
    "ADVERTISE.tag_commitment": "",
    "ADVERTISE.holders": "bad-holders",
    "DEAL.roster_digest": "other-roster",
    "DEAL.share_digests": "wrong-length",
    "DEAL.sealed_shares": "wrong-length",
    "ACKNOWLEDGE.context of double-lock": "other-context",
    "ACKNOWLEDGE.fingerprint of double-lock": "",
    "MASKED.model_digest": "",
    "MASKED.vector": "wrong-length",
    "MASKED.tags": "wrong-length",
    "AGREE.survivors_digest": "survivors-changed",
    "REVEAL.survivors_digest": "survivors-changed",
    "REVEAL.inputs_digest": "inputs-changed",
    "REVEAL.seed_shares of mask": "wrong-length wrong-share",
    "REVEAL.mask_key_shares of mask": "wrong-length wrong-share",
    "REVEAL.sealed of double-lock": "oversized wrong-length",
}


class Sorting(Tries):
    """Keeps the reasons of each field apart, and of what was taken says so."""

    def __init__(self, by):
        super().__init__(by)
        self.field, self.found = "", defaultdict(set)

    def __call__(self, call, *arguments, **named):
        self.reasons.clear()
        result = super().__call__(call, *arguments, **named)
        self.found[self.field] |= self.reasons or {"taken"}
        return result


@pytest.mark.parametrize("scheme", ["mask", "double-lock"])
@pytest.mark.parametrize(
    ("victim", "expected"),
    [(Refuser.HOSPITAL, REFUSED_BY_A_HOSPITAL), (Refuser.COORDINATOR, REFUSED_BY_THE_COORDINATOR)],
)
def test_every_field_is_refused_for_reasons_of_its_own(tmp_path, monkeypatch, victim, expected, scheme):
    """The attacks name the reasons of all fields together, and their controls end at the first that is taken."""
    tries, hostile = Sorting(victim), fields._hostile

    def noting(*arguments):
        for tries.field, message in hostile(*arguments):
            yield tries.field, message

    monkeypatch.setattr(fields, "_hostile", noting)
    stage = Consortium.make(tmp_path, fields._MEMBERS, scheme=scheme)
    vectors = stage.random_vectors(np.random.default_rng(1))
    assert fields._play(stage, vectors, tries, victim) is None
    of_this = {
        name.partition(" ")[0]: {"malformed", *reasons.split()}
        for name, reasons in expected.items()
        if name.endswith(f" of {scheme}") or " of " not in name
    }
    assert dict(tries.found) == of_this
