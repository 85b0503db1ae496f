"""An identity is a file that only its owner can read, and shows its secret to nobody."""

from __future__ import annotations

import re
import stat

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from secagg.errors import InputError
from secagg.identity import Identity, fingerprint, is_valid_signature, is_weak

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


# --- Weak keys: the curve of RFC 8032, section 5.1, in plain arithmetic ---------------------------------------

PRIME = 2**255 - 19
CURVE = -121665 * pow(121666, -1, PRIME) % PRIME
BASE_ORDER = 2**252 + 27742317777372353535851937790883648493


def added(first, second):
    (x1, y1), (x2, y2) = first, second
    k = CURVE * x1 * x2 * y1 * y2
    x, y = (x1 * y2 + x2 * y1) * pow(1 + k, -1, PRIME), (y1 * y2 + x1 * x2) * pow(1 - k, -1, PRIME)
    return x % PRIME, y % PRIME


def times(number, point):
    total = (0, 1)
    for bit in f"{number:b}":
        total = added(total, total)
        if bit == "1":
            total = added(total, point)
    return total


def point_at(y):
    """The point with this y and an even x, or None."""
    square = (y * y - 1) * pow(CURVE * y * y + 1, -1, PRIME) % PRIME
    roots = [pow(square, (PRIME + 3) // 8, PRIME) * pow(2, i * (PRIME - 1) // 4, PRIME) % PRIME for i in (0, 1)]
    return next(((min(x, PRIME - x, key=lambda x: x % 2), y) for x in roots if x * x % PRIME == square), None)


def encoded(y, sign):
    return (y | sign << 255).to_bytes(32, "little")


def points_of_low_order():
    """All eight: the multiples of one of order 8, which is the order of the base point times some point."""
    found = (times(BASE_ORDER, point) for point in map(point_at, range(2, 100)) if point)
    multiples = ({times(number, point) for number in range(8)} for point in found)
    return next(points for points in multiples if len(points) == 8)


LOW_ORDER = points_of_low_order()


def test_every_key_that_anybody_can_sign_for_is_weak():
    written = {
        encoded(y + more, sign) for _, y in LOW_ORDER for more in (0, PRIME) for sign in (0, 1) if y + more < 2**255
    }
    assert len(written) == 14
    assert all(map(is_weak, written))


def test_a_key_that_is_not_encoded_as_rfc_8032_has_it_is_weak():
    assert all(is_weak(encoded(y, sign)) for y in range(PRIME, 2**255) for sign in (0, 1))


def test_no_other_key_is_weak():
    assert not any(is_weak(Identity.generate().public_key) for _ in range(100))
    near = {y + step for _, y in LOW_ORDER for step in (-1, 1)} - {y for _, y in LOW_ORDER}
    assert not any(is_weak(encoded(y, sign)) for y in near if 0 < y < PRIME for sign in (0, 1))


def test_control_for_a_point_of_low_order_signatures_that_nobody_made_are_valid():
    """S is 0, and R minus the hash times the key: one of eight points, of which one fits in about eight messages."""
    points = [encoded(y, x % 2) for x, y in LOW_ORDER]
    for key in points:
        forged = [(point + bytes(32), bytes([number])) for point in points for number in range(32)]
        assert any(is_valid_signature(key, signature, message) for signature, message in forged)
