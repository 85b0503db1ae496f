"""A snapshot on its way: who can open it, and what becomes of one that was changed or sent elsewhere."""

from __future__ import annotations

import os

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from secagg.errors import InputError, RemoteProtocolError
from secagg.labels import label
from secagg.masking import kdf
from tests.support.consortium import make_charter, make_identities, sign_by_all
from training import snapshots
from training.messages import Snapshot
from training.snapshots import Route, open_snapshot, seal_snapshot

CONTENT = b"all that sums have made of a hospital" * 3
IDENTITIES = make_identities(4)


def charter_of(name="consortium", **changes):
    return sign_by_all(make_charter(IDENTITIES, name=name, **changes), IDENTITIES)


@pytest.fixture(scope="module")
def route():
    return Route(charter_of(), 1, 2)


@pytest.fixture
def private_key():
    return os.urandom(32)


@pytest.fixture
def snapshot(route, private_key):
    return seal_snapshot(route, CONTENT, kdf.public_key(private_key), os.urandom)


def reason_of(call, *arguments):
    with pytest.raises(RemoteProtocolError) as caught:
        call(*arguments)
    return caught.value.reason


def test_what_was_sealed_is_opened_by_the_owner_of_the_key(route, private_key, snapshot):
    assert open_snapshot(route, snapshot, private_key) == CONTENT


def test_nothing_of_the_content_can_be_seen_and_nothing_is_sealed_alike_twice(route, private_key, snapshot):
    again = seal_snapshot(route, CONTENT, kdf.public_key(private_key), os.urandom)
    for one in (snapshot, again):
        assert CONTENT[:8] not in bytes(one.sealed)
    assert snapshot.donor_key != again.donor_key
    assert bytes(snapshot.sealed) != bytes(again.sealed)


@pytest.mark.parametrize("bit", [0x01, 0x80], ids=hex)
@pytest.mark.parametrize("field", ["sealed", "donor_key"])
def test_with_any_byte_changed_it_does_not_open(route, private_key, snapshot, field, bit):
    """X25519 ignores the highest bit of a public key; what the key is bound to does not."""
    data = bytes(getattr(snapshot, field))
    for place in range(len(data)):
        altered = bytearray(data)
        altered[place] ^= bit
        value = memoryview(bytes(altered)) if field == "sealed" else bytes(altered)
        changed = msgspec.structs.replace(snapshot, **{field: value})
        assert reason_of(open_snapshot, route, changed, private_key) == "unreadable-snapshot"


@pytest.mark.parametrize("size", [0, 1, 15, 16, 40])
def test_with_bytes_left_out_it_does_not_open(route, private_key, snapshot, size):
    cut = Snapshot(snapshot.donor_key, snapshot.sealed[:size])
    assert reason_of(open_snapshot, route, cut, private_key) == "unreadable-snapshot"


def test_it_opens_for_nobody_else_from_nobody_else_and_under_no_other_charter(route, private_key, snapshot):
    for other in (Route(route.charter, 3, 2), Route(route.charter, 1, 3), Route(charter_of("another"), 1, 2)):
        assert reason_of(open_snapshot, other, snapshot, private_key) == "unreadable-snapshot"
    assert reason_of(open_snapshot, route, snapshot, os.urandom(32)) == "unreadable-snapshot"


def test_a_culprit_is_named(route, private_key, snapshot):
    with pytest.raises(RemoteProtocolError) as caught:
        open_snapshot(route, Snapshot(snapshot.donor_key, snapshot.sealed[1:]), private_key)
    assert caught.value.culprit == route.name(1)
    with pytest.raises(RemoteProtocolError) as caught:
        seal_snapshot(route, CONTENT, bytes(32), os.urandom)
    assert (caught.value.reason, caught.value.culprit) == ("weak-key", route.name(2))


def test_a_key_of_low_order_is_refused_on_both_sides(route, private_key, snapshot):
    for low in (bytes(32), bytes([1]) + bytes(31)):
        assert reason_of(open_snapshot, route, Snapshot(low, snapshot.sealed), private_key) == "weak-key"
        assert reason_of(seal_snapshot, route, CONTENT, low, os.urandom) == "weak-key"


def test_the_key_is_the_one_of_the_document(route, private_key, snapshot):
    shared = X25519PrivateKey.from_private_bytes(private_key).exchange(
        X25519PublicKey.from_public_bytes(snapshot.donor_key)
    )
    own = X25519PrivateKey.from_private_bytes(private_key).public_key().public_bytes_raw()
    info = label("snapshot sealing", route.charter.digest, 1, 2, snapshot.donor_key, own)
    key = HKDF(SHA256(), 32, None, info).derive(shared)
    assert AESGCM(key).decrypt(bytes(12), snapshot.sealed, None) == CONTENT


def test_more_than_can_be_sealed_at_once_is_refused_with_a_reason(route, private_key, monkeypatch):
    monkeypatch.setattr(snapshots, "LARGEST_SEALED", len(CONTENT) - 1)
    with pytest.raises(InputError) as caught:
        seal_snapshot(route, CONTENT, kdf.public_key(private_key), os.urandom)
    assert caught.value.reason == "snapshot-too-large"


def test_snapshots_are_used_where_no_coordinator_has_sums_and_nowhere_else():
    used = {scheme: snapshots.are_used(make_charter(IDENTITIES, scheme=scheme)) for scheme in SCHEMES}
    assert used == {"mask": False, "ckks": True, "bfv": True, "double-lock": True}


SCHEMES = ("mask", "ckks", "bfv", "double-lock")
