"""An identity is a file that only its owner can read, and shows its secret to nobody."""

from __future__ import annotations

import re
import stat

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from secagg.errors import InputError
from secagg.identity import Identity, fingerprint, is_valid_signature

SEED = bytes(range(32))


def refused(path, passphrase=None) -> str:
    with pytest.raises(InputError) as caught:
        Identity.load(path, passphrase)
    return caught.value.reason


def test_a_saved_identity_is_loaded_again_and_is_0600(tmp_path):
    identity = Identity.generate()
    identity.save(tmp_path / "key.pem")
    assert stat.S_IMODE((tmp_path / "key.pem").stat().st_mode) == 0o600
    assert Identity.load(tmp_path / "key.pem").public_key == identity.public_key


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o620, 0o601, 0o666])
def test_a_key_that_others_may_touch_is_refused(tmp_path, mode):
    path = tmp_path / "key.pem"
    Identity.from_seed(SEED).save(path)
    path.chmod(mode)
    assert refused(path) == "key-readable-by-others"


def test_a_read_only_key_of_the_owner_is_accepted(tmp_path):
    path = tmp_path / "key.pem"
    Identity.from_seed(SEED).save(path)
    path.chmod(0o400)
    assert Identity.load(path).public_key == Identity.from_seed(SEED).public_key


def test_a_passphrase_protects_the_file(tmp_path):
    path = tmp_path / "key.pem"
    identity = Identity.from_seed(SEED)
    identity.save(path, b"correct horse")
    assert b"ENCRYPTED" in path.read_bytes()
    assert Identity.load(path, b"correct horse").public_key == identity.public_key
    assert refused(path, b"wrong") == "wrong-passphrase"
    assert refused(path) == "wrong-passphrase"


def test_a_passphrase_for_an_open_key_is_refused(tmp_path):
    Identity.from_seed(SEED).save(tmp_path / "key.pem")
    assert refused(tmp_path / "key.pem", b"any") == "wrong-passphrase"


def test_a_key_is_never_overwritten(tmp_path):
    path = tmp_path / "key.pem"
    Identity.from_seed(SEED).save(path)
    before = path.read_bytes()
    with pytest.raises(InputError) as caught:
        Identity.generate().save(path)
    assert caught.value.reason == "exists"
    assert path.read_bytes() == before


def test_a_file_that_is_no_key_or_another_kind_of_key_is_refused(tmp_path):
    path = tmp_path / "key.pem"
    path.write_bytes(b"hello")
    path.chmod(0o600)
    assert refused(path) == "not-an-identity"
    path.write_bytes(
        X25519PrivateKey.from_private_bytes(SEED).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    assert refused(path) == "not-an-identity"
    assert refused(tmp_path / "absent") == "unreadable"


def test_the_fingerprint_is_five_groups_of_four_and_differs_by_key():
    first, second = Identity.from_seed(SEED), Identity.from_seed(bytes(32))
    assert re.fullmatch(r"([A-Z2-7]{4}-){4}[A-Z2-7]{4}", first.fingerprint)
    assert first.fingerprint == fingerprint(first.public_key)
    assert first.fingerprint != second.fingerprint


def test_the_repr_shows_the_fingerprint_and_no_secret():
    identity = Identity.from_seed(SEED)
    shown = f"{identity!r} {identity} {vars(identity)}"
    assert identity.fingerprint in shown
    assert SEED.hex() not in shown
    assert repr(SEED)[2:-1] not in shown


def test_rfc_8032_test_1_is_reproduced():
    identity = Identity.from_seed(bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"))
    assert identity.public_key.hex() == "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
    assert identity.sign(b"").hex() == (
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd"
        "25bf5f0595bbe24655141438e7a100b"
    )


def test_a_signature_is_valid_for_its_key_and_message_only():
    identity, other = Identity.from_seed(SEED), Identity.from_seed(bytes(32))
    signature = identity.sign(b"message")
    assert is_valid_signature(identity.public_key, signature, b"message")
    assert not is_valid_signature(other.public_key, signature, b"message")
    assert not is_valid_signature(identity.public_key, signature, b"massage")
    for position in range(len(signature)):
        flipped = bytearray(signature)
        flipped[position] ^= 1
        assert not is_valid_signature(identity.public_key, bytes(flipped), b"message")


@pytest.mark.parametrize(("key", "signature"), [(b"", bytes(64)), (bytes(31), bytes(64)), (bytes(32), b"")])
def test_a_key_or_signature_of_the_wrong_size_is_not_valid(key, signature):
    assert not is_valid_signature(key, signature, b"")
