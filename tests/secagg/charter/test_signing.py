"""A charter counts once every member has signed exactly it."""

from __future__ import annotations

import msgspec
import pytest

from secagg.charter import CharterSignature, VerifiedCharter, sign_charter, verify_charter
from secagg.charter import signing as charter_signing
from secagg.charter.folder import read_signatures, read_verified, write_charter, write_signatures
from secagg.charter.signing import parse_signatures, render_signatures
from secagg.errors import InputError, TamperingError
from secagg.identity import Identity
from tests.support.consortium import make_charter, make_identities

IDENTITIES = make_identities(4)
CHARTER = make_charter(IDENTITIES)
SIGNATURES = [sign_charter(CHARTER, identity) for identity in IDENTITIES]
LOOSER = make_charter(IDENTITIES, threshold=4)


def test_a_charter_signed_by_all_is_verified():
    verified = verify_charter(CHARTER, SIGNATURES)
    assert verified.charter is CHARTER
    assert verified.digest == CHARTER.digest()


@pytest.mark.parametrize("missing", range(4))
def test_a_missing_signature_is_named(missing):
    with pytest.raises(InputError) as caught:
        verify_charter(CHARTER, SIGNATURES[:missing] + SIGNATURES[missing + 1 :])
    assert (caught.value.reason, caught.value.culprit) == ("charter-unsigned", f"h{missing + 1}")


def test_a_charter_altered_after_signing_is_tampering():
    with pytest.raises(TamperingError) as caught:
        verify_charter(LOOSER, SIGNATURES)
    assert caught.value.reason == "charter-altered"
    assert caught.value.exit_code == 4


def test_without_the_signature_check_the_altered_charter_would_pass(monkeypatch):
    monkeypatch.setattr(charter_signing, "is_valid_signature", lambda *arguments: True)
    assert verify_charter(LOOSER, SIGNATURES).charter is LOOSER


def test_one_members_signature_does_not_count_for_another():
    borrowed = [*SIGNATURES[:3], CharterSignature("h4", SIGNATURES[0].signature)]
    with pytest.raises(TamperingError) as caught:
        verify_charter(CHARTER, borrowed)
    assert caught.value.culprit == "h4"


def test_a_strangers_signature_counts_for_nothing():
    stranger = CharterSignature("h9", Identity.generate().sign(CHARTER.digest()))
    with pytest.raises(InputError):
        verify_charter(CHARTER, [*SIGNATURES[:3], stranger])


def test_a_stranger_cannot_sign():
    with pytest.raises(InputError) as caught:
        sign_charter(CHARTER, Identity.generate())
    assert caught.value.reason == "unknown-member"


def test_a_signature_over_the_bare_digest_is_refused():
    bare = [*SIGNATURES[:3], CharterSignature("h4", IDENTITIES[3].sign(CHARTER.digest()))]
    with pytest.raises(TamperingError):
        verify_charter(CHARTER, bare)


def test_a_verified_charter_cannot_be_made_by_hand():
    with pytest.raises(TypeError):
        VerifiedCharter(CHARTER, CHARTER.digest())
    with pytest.raises(TypeError):
        VerifiedCharter(CHARTER, CHARTER.digest(), _by_verifier=object())


def test_signatures_survive_their_file():
    assert set(parse_signatures(render_signatures(SIGNATURES))) == set(SIGNATURES)
    assert render_signatures(SIGNATURES) == render_signatures(reversed(SIGNATURES))


@pytest.mark.parametrize(
    "text", [b"", b"{}", b'[{"member": "h1"}]', b'[{"member": "h1", "signature": "AAAA"}]', b'["\xff"]']
)
def test_a_file_that_holds_no_signatures_is_tampering(text):
    with pytest.raises(TamperingError) as caught:
        parse_signatures(text)
    assert caught.value.reason == "malformed-signatures"
    assert caught.value.remedy


def test_a_folder_keeps_a_charter_and_its_signatures(tmp_path):
    write_charter(tmp_path, CHARTER)
    assert read_signatures(tmp_path) == ()
    write_signatures(tmp_path, tuple(SIGNATURES))
    assert read_verified(tmp_path).digest == CHARTER.digest()
    path = tmp_path / "charter.toml"
    path.write_bytes(path.read_bytes().replace(b"update_norm = 10.0", b"update_norm = 11.0"))
    with pytest.raises(TamperingError):
        read_verified(tmp_path)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"threshold = 3", b"threshold = 2"),
        (b'scheme = "mask"', b'scheme = "masc"'),
        (b"version = 1", b"version = 2"),
        (b"[encoding]", b"[encoding"),
        (b"name", b"n\xffme"),
    ],
)
def test_a_signed_charter_that_is_none_any_more_was_altered(tmp_path, old, new):
    write_charter(tmp_path, CHARTER)
    write_signatures(tmp_path, tuple(SIGNATURES[:1]))
    path = tmp_path / "charter.toml"
    assert old in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(old, new, 1))
    with pytest.raises(TamperingError) as caught:
        read_verified(tmp_path)
    assert (caught.value.reason, caught.value.culprit) == ("charter-altered", str(path))
    assert "after h1 signed it" in caught.value.message


@pytest.mark.parametrize("signatures", [None, ()])
def test_an_unsigned_charter_that_is_none_is_a_draft_to_be_mended(tmp_path, signatures):
    write_charter(tmp_path, CHARTER)
    if signatures is not None:
        write_signatures(tmp_path, signatures)
    path = tmp_path / "charter.toml"
    path.write_bytes(path.read_bytes().replace(b"threshold = 3", b"threshold = 2"))
    with pytest.raises(InputError) as caught:
        read_verified(tmp_path)
    assert caught.value.reason == "unsafe-threshold"


def test_a_signed_charter_that_is_gone_is_not_tampering(tmp_path):
    write_signatures(tmp_path, tuple(SIGNATURES))
    with pytest.raises(InputError) as caught:
        read_verified(tmp_path)
    assert caught.value.reason == "unreadable"


def test_a_signed_struct_refuses_fields_it_does_not_know():
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"member": "h1", "signature": bytes(64), "extra": 1}, CharterSignature)
