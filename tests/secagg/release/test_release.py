"""A release: canonical, signed by every contributor, and refused as soon as one byte of it is another."""

from __future__ import annotations

import base64
import hashlib

import msgspec
import pytest

from secagg.charter.folder import write_charter, write_signatures
from secagg.errors import InputError, SecaggError, TamperingError
from secagg.files import write_atomically
from secagg.release import (
    Contributor,
    PrivacyClaim,
    Release,
    attest,
    dsse,
    read_envelope,
    verify_release,
    verify_signatures,
)
from secagg.release.dsse import SignedStatement, assemble, is_signed_by
from secagg.release.folder import STATEMENT_FILE
from secagg.release.statement import MODEL_FILE, read_statement, statement_bytes
from tests.support.consortium import make_charter, make_identities, sign_by_all

MEMBERS = 4
MODEL = bytes(range(256)) * 3


@pytest.fixture(scope="module")
def identities():
    return make_identities(MEMBERS)


@pytest.fixture(scope="module")
def charter(identities):
    return sign_by_all(make_charter(identities), identities)


def describe(verified, contributors=("h1", "h2", "h3"), **changes):
    settings = {
        "charter": verified.digest.hex(),
        "charter_name": verified.charter.name,
        "model_digest": hashlib.sha256(b"parameters").hexdigest(),
        "initial_model_digest": verified.charter.model.digest.hex(),
        "sums": 3,
        "rounds": 4,
        "contributors": tuple(Contributor(name, 2) for name in contributors),
        "privacy": PrivacyClaim("local", "patient", 3.25, 1e-5),
    }
    return Release(**(settings | changes))


def write(folder, charter, statement, signers):
    write_charter(folder, charter.charter)
    write_signatures(folder, charter.signatures)
    write_atomically(folder / MODEL_FILE, MODEL)
    signed = assemble(statement, [attest(statement, identity) for identity in signers])
    write_atomically(folder / STATEMENT_FILE, signed.to_json())
    return folder


@pytest.fixture
def release(tmp_path, charter, identities):
    return write(tmp_path / "release", charter, statement_bytes(MODEL, describe(charter)), identities[:3])


# The statement


def test_the_pre_authentication_encoding_is_that_of_the_dsse_specifications_example(monkeypatch):
    monkeypatch.setattr(dsse, "PAYLOAD_TYPE", "http://example.com/HelloWorld")
    encoded = dsse._pre_authentication_encoding(b"hello world")
    assert encoded == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"


def test_the_encoding_counts_bytes_and_keeps_body_and_type_apart():
    body = "é 3 x".encode()
    assert dsse._pre_authentication_encoding(body) == b"DSSEv1 28 application/vnd.in-toto+json 6 " + body


def test_a_signature_is_over_the_encoding_and_not_over_the_bare_statement(identities):
    signature = attest(b"statement", identities[0])
    public_key = identities[0].public_key
    assert is_signed_by(b"statement", signature, public_key)
    bare = msgspec.structs.replace(signature, sig=identities[0].sign(b"statement"))
    assert not is_signed_by(b"statement", bare, public_key)


def test_a_statement_is_canonical_json_that_reads_back_the_same(charter):
    statement = statement_bytes(MODEL, describe(charter))
    tree = msgspec.json.decode(statement)
    assert msgspec.json.encode(tree, order="sorted") == statement
    assert b"\n" not in statement
    assert tree["_type"] == "https://in-toto.io/Statement/v1"
    assert tree["subject"] == [{"digest": {"sha256": hashlib.sha256(MODEL).hexdigest()}, "name": MODEL_FILE}]
    assert read_statement(statement).predicate == describe(charter)


def test_hospitals_that_saw_the_same_state_the_same_bytes(charter):
    assert statement_bytes(MODEL, describe(charter)) == statement_bytes(bytes(MODEL), describe(charter))
    others = [
        statement_bytes(MODEL + b"\0", describe(charter)),
        statement_bytes(MODEL, describe(charter, rounds=5)),
        statement_bytes(MODEL, describe(charter, privacy=PrivacyClaim("local", "patient", 3.2500000001, 1e-5))),
    ]
    assert len({statement_bytes(MODEL, describe(charter)), *others}) == 4


def test_the_envelope_is_the_one_that_dsse_recommends(release):
    tree = msgspec.json.decode((release / STATEMENT_FILE).read_bytes())
    assert set(tree) == {"payload", "payloadType", "signatures"}
    assert tree["payloadType"] == "application/vnd.in-toto+json"
    assert read_statement(base64.b64decode(tree["payload"])).predicate.sums == 3


@pytest.mark.parametrize(
    "data",
    [b"", b"{}", b"\xff", b"[]", b'{"payload": "?", "payloadType": "application/vnd.in-toto+json", "signatures": []}'],
)
def test_an_envelope_that_cannot_be_read_is_refused(data):
    with pytest.raises(TamperingError) as caught:
        read_envelope(data)
    assert caught.value.reason == "malformed-statement"


def test_an_envelope_of_another_payload_type_is_refused(release):
    data = (release / STATEMENT_FILE).read_bytes().replace(b"vnd.in-toto+json", b"vnd.other+json")
    with pytest.raises(TamperingError) as caught:
        read_envelope(data)
    assert caught.value.reason == "malformed-statement"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"sums":3', b'"sums":-3'),
        (b'"sums":3', b'"sums":3,"extra":1'),
        (b"Statement/v1", b"Statement/v2"),
        (b"model.safetensors", b"other.safetensors"),
        (b'"patient"', b'"record"'),
    ],
)
def test_a_statement_that_says_something_we_do_not_know_is_refused(charter, old, new):
    statement = statement_bytes(MODEL, describe(charter))
    assert old in statement
    with pytest.raises(TamperingError) as caught:
        read_statement(statement.replace(old, new))
    assert caught.value.reason == "malformed-statement"


# Who must have signed


def refused(folder):
    with pytest.raises(SecaggError) as caught:
        verify_release(folder)
    assert caught.value.remedy
    return caught.value.reason


def test_a_release_signed_by_every_contributor_is_accepted(release, charter):
    verified = verify_release(release)
    assert verified.charter.digest == charter.digest
    assert verified.statement.predicate.rounds == 4


def test_a_member_that_did_not_contribute_need_not_sign(release):
    assert "h4" not in {entry.name for entry in verify_release(release).statement.predicate.contributors}


def test_a_contributors_missing_signature_is_named(tmp_path, charter, identities):
    write(tmp_path, charter, statement_bytes(MODEL, describe(charter)), [identities[0], identities[2]])
    with pytest.raises(TamperingError) as caught:
        verify_release(tmp_path)
    assert (caught.value.reason, caught.value.culprit, caught.value.exit_code) == ("signature-missing", "h2", 4)


def test_a_statement_that_names_fewer_than_any_sum_is_over_is_refused_however_well_it_is_signed(
    tmp_path, charter, identities
):
    assert charter.charter.threshold == 3
    write(tmp_path, charter, statement_bytes(MODEL, describe(charter, contributors=("h1", "h2"))), identities[:2])
    assert refused(tmp_path) == "too-few-contributors"


def test_a_contributor_that_is_named_twice_is_not_two(tmp_path, charter, identities):
    statement = statement_bytes(MODEL, describe(charter, contributors=("h1", "h2", "h2")))
    write(tmp_path, charter, statement, identities[:2])
    with pytest.raises(TamperingError) as caught:
        verify_release(tmp_path)
    assert (caught.value.reason, caught.value.culprit) == ("repeated-contributor", "h2")


def test_a_signature_of_a_member_that_did_not_contribute_is_a_stray_one(tmp_path, charter, identities):
    write(tmp_path, charter, statement_bytes(MODEL, describe(charter)), identities)
    assert refused(tmp_path) == "stray-signature"


def test_a_strangers_signature_is_a_stray_one(tmp_path, charter, identities):
    stranger = make_identities(9)[-1]
    write(tmp_path, charter, statement_bytes(MODEL, describe(charter)), [*identities[:3], stranger])
    assert refused(tmp_path) == "stray-signature"


def test_a_signature_that_is_there_twice_is_refused(charter, identities):
    statement = statement_bytes(MODEL, describe(charter))
    signatures = [attest(statement, identity) for identity in identities[:3]]
    twice = SignedStatement(statement, dsse.PAYLOAD_TYPE, (*signatures, signatures[0]))
    with pytest.raises(TamperingError) as caught:
        verify_signatures(twice, charter.charter, ["h1", "h2", "h3"])
    assert caught.value.reason == "stray-signature"


def test_a_signature_over_another_statement_is_refused(charter, identities):
    statement = statement_bytes(MODEL, describe(charter))
    other = statement_bytes(MODEL, describe(charter, rounds=9))
    signed = assemble(statement, [*(attest(statement, key) for key in identities[:2]), attest(other, identities[2])])
    with pytest.raises(TamperingError) as caught:
        verify_signatures(signed, charter.charter, ["h1", "h2", "h3"])
    assert (caught.value.reason, caught.value.culprit) == ("bad-statement-signature", "h3")


def test_one_hospitals_key_does_not_stand_in_for_anothers(charter, identities):
    statement = statement_bytes(MODEL, describe(charter))
    own = [attest(statement, key) for key in identities[:3]]
    swapped = msgspec.structs.replace(own[0], sig=own[1].sig)
    with pytest.raises(TamperingError) as caught:
        verify_signatures(assemble(statement, [swapped, *own[1:]]), charter.charter, ["h1", "h2", "h3"])
    assert (caught.value.reason, caught.value.culprit) == ("bad-statement-signature", "h1")


def test_a_contributor_that_is_no_member_is_refused(tmp_path, charter, identities):
    statement = statement_bytes(MODEL, describe(charter, contributors=("h1", "h2", "h3", "mallory")))
    write(tmp_path, charter, statement, identities[:3])
    with pytest.raises(TamperingError) as caught:
        verify_release(tmp_path)
    assert (caught.value.reason, caught.value.culprit) == ("not-a-member", "mallory")


def test_a_statement_that_nobody_contributed_to_is_refused(tmp_path, charter):
    write(tmp_path, charter, statement_bytes(MODEL, describe(charter, contributors=())), [])
    assert refused(tmp_path) == "no-contributors"


def test_a_statement_about_another_charter_is_refused(tmp_path, charter, identities):
    write(tmp_path, charter, statement_bytes(MODEL, describe(charter, charter="ab" * 32)), identities[:3])
    assert refused(tmp_path) == "other-charter"


def test_a_statement_that_starts_from_another_model_is_refused(tmp_path, charter, identities):
    statement = statement_bytes(MODEL, describe(charter, initial_model_digest="ab" * 32))
    write(tmp_path, charter, statement, identities[:3])
    assert refused(tmp_path) == "other-model"


# One byte


@pytest.mark.parametrize("position", [0, 1, 100, 383, 766, 767])
@pytest.mark.parametrize("flip", [0x01, 0x80])
def test_any_changed_byte_of_the_model_is_found(release, position, flip):
    change(release / MODEL_FILE, position, flip)
    assert refused(release) == "model-altered"


@pytest.mark.parametrize("content", [b"", MODEL[:-1], MODEL + b"\0"])
def test_a_model_cut_off_or_lengthened_is_found(release, content):
    (release / MODEL_FILE).write_bytes(content)
    assert refused(release) == "model-altered"


def change(path, position, flip=0x01):
    data = bytearray(path.read_bytes())
    data[position] ^= flip
    path.write_bytes(bytes(data))


def rewrite(release, envelope):
    """Put another envelope in the place of the statement's, written as ours is."""
    (release / STATEMENT_FILE).write_bytes(msgspec.json.format(msgspec.json.encode(envelope), indent=1) + b"\n")


STATEMENT_REASONS = {
    "malformed-statement",
    "bad-statement-signature",
    "signature-missing",
    "stray-signature",
    "not-a-member",
    "other-charter",
    "other-model",
    "model-altered",
}


def test_any_changed_byte_within_the_statement_is_found(release):
    whole = msgspec.json.decode((release / STATEMENT_FILE).read_bytes())
    statement = base64.b64decode(whole["payload"])
    for position in range(0, len(statement), 7):
        changed = bytearray(statement)
        changed[position] ^= 0x01
        whole["payload"] = base64.b64encode(bytes(changed)).decode()
        rewrite(release, whole)
        assert refused(release) in STATEMENT_REASONS


def test_any_changed_byte_of_the_statements_file_is_found(release):
    path = release / STATEMENT_FILE
    for position in range(0, path.stat().st_size, 3):
        change(path, position)
        assert refused(release) in STATEMENT_REASONS
        change(path, position)
    assert verify_release(release)


def test_another_spelling_of_what_was_signed_is_found(release, monkeypatch):
    path = release / STATEMENT_FILE
    whole = path.read_bytes()
    # The last character before the padding carries four bits that no decoder looks at.
    end = whole.index(b'=="')
    respelt = whole[: end - 1] + bytes([whole[end - 1] + 1]) + whole[end:]
    spellings = [respelt, whole.rstrip(b"\n"), whole.replace(b": ", b":")]
    for spelling in spellings:
        assert spelling != whole
        path.write_bytes(spelling)
        assert refused(release) == "malformed-statement"
    # The control: without the comparison each of them passes.
    for spelling in spellings:
        path.write_bytes(spelling)
        monkeypatch.setattr(SignedStatement, "to_json", lambda signed, spelling=spelling: spelling)
        assert verify_release(release)


def test_any_changed_byte_of_a_signature_is_found(release):
    whole = msgspec.json.decode((release / STATEMENT_FILE).read_bytes())
    signature = base64.b64decode(whole["signatures"][1]["sig"])
    for position in range(64):
        changed = bytearray(signature)
        changed[position] ^= 0x04
        whole["signatures"][1]["sig"] = base64.b64encode(bytes(changed)).decode()
        rewrite(release, whole)
        assert refused(release) == "bad-statement-signature"


def test_a_signatures_key_under_another_name_is_found(release):
    whole = msgspec.json.decode((release / STATEMENT_FILE).read_bytes())
    whole["signatures"][0]["keyid"] = "AAAA-AAAA-AAAA-AAAA-AAAA"
    rewrite(release, whole)
    assert refused(release) == "signature-missing"


def test_a_charter_that_says_something_else_is_found(release):
    charter = release / "charter.toml"
    text = charter.read_text()
    assert "rounds = 3" in text
    charter.write_text(text.replace("rounds = 3", "rounds = 4", 1))
    assert refused(release) == "charter-altered"


def verdict(folder):
    """The exit code of a refusal, or the hash of the charter that was accepted."""
    try:
        return verify_release(folder).charter.digest
    except SecaggError as error:
        return error.exit_code


def test_a_changed_byte_of_the_charter_is_found_unless_the_charter_means_the_same(release, charter):
    path = release / "charter.toml"
    whole = path.read_bytes()
    verdicts = []
    for position in range(0, len(whole), 11):
        change(path, position)
        verdicts.append(verdict(release))
        path.write_bytes(whole)
    # White space and comments are no part of what was signed.
    assert set(verdicts) <= {charter.digest, InputError.exit_code, TamperingError.exit_code}
    assert verdicts.count(charter.digest) < len(verdicts) / 2


def test_any_changed_byte_of_the_charters_signatures_is_found(release):
    path = release / "charter.signatures.json"
    whole = msgspec.json.decode(path.read_bytes())
    for position in range(0, 64, 5):
        signature = bytearray(base64.b64decode(whole[0]["signature"]))
        signature[position] ^= 0x10
        altered = [whole[0] | {"signature": base64.b64encode(bytes(signature)).decode()}, *whole[1:]]
        path.write_bytes(msgspec.json.encode(altered))
        assert refused(release) == "charter-altered"


def test_a_missing_signature_under_the_charter_is_found(release):
    path = release / "charter.signatures.json"
    path.write_bytes(msgspec.json.encode(msgspec.json.decode(path.read_bytes())[1:]))
    assert refused(release) == "charter-unsigned"


@pytest.mark.parametrize("name", [MODEL_FILE, STATEMENT_FILE, "charter.toml"])
def test_a_missing_file_is_named(release, name):
    (release / name).unlink()
    with pytest.raises(InputError) as caught:
        verify_release(release)
    assert (caught.value.reason, caught.value.culprit) == ("unreadable", str(release / name))


def test_a_whole_release_of_other_hospitals_does_not_pass_for_this_charters(release, tmp_path):
    """The charter decides whose keys count: an attacker's own consortium gives an attacker's own charter."""
    others = make_identities(9)[5:]
    forged = sign_by_all(make_charter(others), others)
    write(tmp_path / "forged", forged, statement_bytes(MODEL, describe(forged)), others[:3])
    assert verify_release(tmp_path / "forged").charter.digest != verify_release(release).charter.digest
    (release / STATEMENT_FILE).write_bytes((tmp_path / "forged" / STATEMENT_FILE).read_bytes())
    assert refused(release) == "other-charter"
