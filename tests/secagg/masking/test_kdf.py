"""Keys are those of the standards, and bound to everything they are said to be bound to."""

from __future__ import annotations

from functools import cache

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from secagg.charter import VerifiedCharter
from secagg.errors import RemoteProtocolError
from secagg.masking import Purpose, Session, kdf
from secagg.masking.dealing import HeldShares, secrets_of
from secagg.masking.kdf import Secret
from tests.support.consortium import make_charter, make_identities, sign_by_all

IDENTITIES = make_identities(4)
SHARED = bytes(range(32))
MODEL = bytes(32)
OTHER_MODEL = bytes([1]) * 32


@cache
def charter(name: str = "test") -> VerifiedCharter:
    return sign_by_all(make_charter(IDENTITIES, name=name), IDENTITIES)


def session(name: str = "test", epoch: int = 1, purpose: Purpose = Purpose.TRAINING) -> Session:
    return Session(charter(name), epoch, purpose, 1, 3)


OTHER_SESSIONS = [session(name="other"), session(epoch=2), session(purpose=Purpose.STATISTICS)]


def test_rfc_7748_section_6_1_is_reproduced():
    bob = bytes.fromhex("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb")
    alice = bytes.fromhex("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a")
    assert kdf.public_key(bob).hex() == "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f"
    assert kdf.agree(bob, alice, "alice").hex() == "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742"


def test_rfc_7748_section_5_2_is_reproduced():
    scalar = bytes.fromhex("a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4")
    point = bytes.fromhex("e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c")
    shared = "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552"
    assert kdf.agree(scalar, point, "peer").hex() == shared


@pytest.mark.parametrize(
    ("secret", "salt", "info", "length", "expected"),
    [
        (
            "0b" * 22,
            "000102030405060708090a0b0c",
            "f0f1f2f3f4f5f6f7f8f9",
            42,
            "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
        ),
        (
            "0b" * 22,
            "",
            "",
            42,
            "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8",
        ),
    ],
    ids=["A.1", "A.3"],
)
def test_rfc_5869_is_reproduced_by_the_primitive(secret, salt, info, length, expected):
    derived = HKDF(SHA256(), length, bytes.fromhex(salt) or None, bytes.fromhex(info)).derive(bytes.fromhex(secret))
    assert derived.hex() == expected


def test_a_mask_key_is_hkdf_over_the_label_of_everything_it_is_bound_to():
    parts = [
        b"secagg/1",
        b"pairwise mask",
        charter().digest,
        (1).to_bytes(8, "big"),
        b"training",
        (2).to_bytes(8, "big"),
        MODEL,
        (1).to_bytes(8, "big"),
        (3).to_bytes(8, "big"),
    ]
    info = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
    expected = HKDF(SHA256(), 32, None, info).derive(SHARED)
    assert kdf.pairwise_mask_key(SHARED, session(), 2, MODEL, (1, 3)) == expected


def test_both_ends_of_a_pair_derive_one_key():
    first, second = bytes([1]) * 32, bytes([2]) * 32
    one = kdf.agree(first, kdf.public_key(second), "second")
    other = kdf.agree(second, kdf.public_key(first), "first")
    assert one == other
    assert kdf.pairwise_mask_key(one, session(), 1, MODEL, (1, 2)) == kdf.pairwise_mask_key(
        other, session(), 1, MODEL, (2, 1)
    )


def all_different(values: list[bytes]) -> bool:
    return len(set(values)) == len(values)


def test_changing_anything_a_pairwise_key_is_bound_to_changes_it():
    assert all_different(
        [kdf.pairwise_mask_key(SHARED, other, 1, MODEL, (1, 2)) for other in [session(), *OTHER_SESSIONS]]
        + [
            kdf.pairwise_mask_key(SHARED, session(), 2, MODEL, (1, 2)),
            kdf.pairwise_mask_key(SHARED, session(), 1, OTHER_MODEL, (1, 2)),
            kdf.pairwise_mask_key(SHARED, session(), 1, MODEL, (1, 3)),
            kdf.pairwise_mask_key(SHARED, session(), 1, MODEL, (2, 3)),
            kdf.pairwise_mask_key(bytes(32), session(), 1, MODEL, (1, 2)),
            kdf.self_mask_key(SHARED, session(), 1, MODEL, 1),
        ]
    )


def test_changing_anything_a_self_mask_key_is_bound_to_changes_it():
    assert all_different(
        [kdf.self_mask_key(SHARED, other, 1, MODEL, 1) for other in [session(), *OTHER_SESSIONS]]
        + [
            kdf.self_mask_key(SHARED, session(), 2, MODEL, 1),
            kdf.self_mask_key(SHARED, session(), 1, OTHER_MODEL, 1),
            kdf.self_mask_key(SHARED, session(), 1, MODEL, 2),
            kdf.self_mask_key(bytes(32), session(), 1, MODEL, 1),
        ]
    )


def test_changing_anything_a_sealing_key_is_bound_to_changes_it():
    assert all_different(
        [kdf.share_sealing_key(SHARED, other, MODEL, 1, 2) for other in [session(), *OTHER_SESSIONS]]
        + [
            kdf.share_sealing_key(SHARED, session(), OTHER_MODEL, 1, 2),
            kdf.share_sealing_key(SHARED, session(), MODEL, 2, 1),
            kdf.share_sealing_key(SHARED, session(), MODEL, 1, 3),
            kdf.share_sealing_key(bytes(32), session(), MODEL, 1, 2),
        ]
    )


def test_changing_anything_a_commitment_or_a_share_digest_is_bound_to_changes_it():
    assert all_different(
        [kdf.self_mask_commitment(SHARED, other, 1, 1) for other in [session(), *OTHER_SESSIONS]]
        + [
            kdf.self_mask_commitment(SHARED, session(), 2, 1),
            kdf.self_mask_commitment(SHARED, session(), 1, 2),
            kdf.self_mask_commitment(bytes(32), session(), 1, 1),
        ]
        + [kdf.share_digest(SHARED, other, 1, Secret.MASK_KEY, 1, 2) for other in [session(), *OTHER_SESSIONS]]
        + [
            kdf.share_digest(SHARED, session(), 2, Secret.MASK_KEY, 1, 2),
            kdf.share_digest(SHARED, session(), 1, Secret.SELF_MASK_SEED, 1, 2),
            kdf.share_digest(SHARED, session(), 1, Secret.MASK_KEY, 2, 1),
            kdf.share_digest(bytes(32), session(), 1, Secret.MASK_KEY, 1, 2),
        ]
    )


@pytest.mark.parametrize("derive", [kdf.noise_key, kdf.noise_tag_pad, kdf.noise_seed_commitment])
def test_changing_anything_that_is_derived_from_a_noise_seed_is_bound_to_changes_it(derive):
    assert all_different(
        [derive(SHARED, other, 1, 1, 1) for other in [session(), *OTHER_SESSIONS]]
        + [
            derive(SHARED, session(), 2, 1, 1),
            derive(SHARED, session(), 1, 2, 1),
            derive(SHARED, session(), 1, 1, 2),
            derive(bytes(32), session(), 1, 1, 1),
        ]
    )


def test_the_pad_of_a_components_tag_has_a_label_of_its_own_beside_what_draws_the_noise():
    pad = kdf.noise_tag_pad(SHARED, session(), 1, 2, 1).to_bytes(32, "little")
    assert pad == HKDF(SHA256(), 32, None, session().context("noise tag pad", 1, 2, 1)).derive(SHARED)
    assert pad != kdf.noise_key(SHARED, session(), 1, 2, 1)


def test_a_share_of_one_component_is_none_of_another_and_its_tags_have_a_key_of_their_own():
    assert all_different(
        [kdf.share_digest(SHARED, session(), 1, Secret.NOISE_SEED, 1, 2, component) for component in (1, 2)]
        + [kdf.share_digest(SHARED, session(), 1, Secret.SELF_MASK_SEED, 1, 2)]
    )
    assert all_different(
        [kdf.noise_tag_key(SHARED, other, 1, MODEL, 1) for other in [session(), *OTHER_SESSIONS]]
        + [
            kdf.noise_tag_key(SHARED, session(), 1, MODEL, 2),
            kdf.noise_tag_key(SHARED, session(), 2, MODEL, 1),
            kdf.noise_tag_key(SHARED, session(), 1, OTHER_MODEL, 1),
            kdf.round_tag_key(SHARED, session(), 1, MODEL),
        ]
    )


def test_the_digests_of_a_deal_are_those_of_its_shares_one_by_one():
    of_epoch = session()
    rounds = tuple(
        tuple(bytes([slot, kind]) * 16 for kind in range(of_epoch.secrets_a_round))
        for slot in range(of_epoch.secret_rounds)
    )
    one_by_one = [
        kdf.share_digest(share, of_epoch, of_epoch.first_round + slot, secret, 2, 3, component)
        for slot, shares in enumerate(rounds)
        for (secret, component), share in zip(secrets_of(of_epoch), shares, strict=True)
    ]
    assert HeldShares(rounds, bytes(32)).digests(of_epoch, 2, 3) == b"".join(one_by_one)
    assert HeldShares((), bytes(32)).digests(of_epoch, 2, 3) == b""


# The points of order 1, 2, 4 and 8 of Curve25519 and its twist, little-endian, and one not reduced modulo the prime.
LOW_ORDER = [
    "00" * 32,
    "01" + "00" * 31,
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
]


@pytest.mark.parametrize("point", LOW_ORDER)
def test_a_key_of_low_order_is_refused_and_its_owner_named(point):
    with pytest.raises(RemoteProtocolError) as caught:
        kdf.agree(SHARED, bytes.fromhex(point), "mallory")
    assert (caught.value.reason, caught.value.culprit) == ("weak-key", "mallory")
