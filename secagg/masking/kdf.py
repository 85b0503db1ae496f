"""Keys from key agreement and seeds: X25519 (RFC 7748) and HKDF-SHA256 (RFC 5869).

Knows how a key is derived and what it is bound to. Every mask key is bound to the charter, the epoch, the round and the
digest of the model the update starts from: between hospitals that hold different models, masks do not cancel.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from enum import StrEnum

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from secagg.errors import RemoteProtocolError
from secagg.labels import extend, extend_by_pair
from secagg.masking.messages import KEY_SIZE
from secagg.masking.remedies import WITHOUT_MEMBER
from secagg.masking.session import Session

ShareLabel = tuple[bytes, bytes]
"""What is hashed before and after dealer and recipient in a share digest."""


class Secret(StrEnum):
    """The kinds of secrets that a hospital shares for each round."""

    SELF_MASK_SEED = "self mask share"
    MASK_KEY = "mask key share"
    NOISE_SEED = "noise share"


def public_key(private_key: bytes) -> bytes:
    """The X25519 public key of a 32-byte private key."""
    return X25519PrivateKey.from_private_bytes(private_key).public_key().public_bytes_raw()


def agree(private_key: bytes, peer_public_key: bytes, peer_name: str) -> bytes:
    """The X25519 shared secret.

    Raises:
        RemoteProtocolError: ``weak-key``, if the peer's key is of low order (RFC 7748, section 6.1).
    """
    return agree_with_each(private_key, [(peer_public_key, peer_name)])[0]


def agree_with_each(private_key: bytes, peers: Iterable[tuple[bytes, str]]) -> list[bytes]:
    """The X25519 shared secrets of one private key with many (public key, name): the key is loaded once.

    Raises:
        RemoteProtocolError: ``weak-key``, naming the first peer whose key is of low order (RFC 7748, section 6.1).
    """
    own = X25519PrivateKey.from_private_bytes(private_key)
    secrets = []
    for public, name in peers:
        try:
            secrets.append(own.exchange(X25519PublicKey.from_public_bytes(public)))
        except ValueError as error:
            raise RemoteProtocolError(
                "weak-key",
                f"{name} advertised a key that gives no secret.",
                culprit=name,
                remedy=WITHOUT_MEMBER,
            ) from error
    return secrets


def pairwise_mask_key(
    shared_secret: bytes, session: Session, round_number: int, model: bytes, pair: tuple[int, int]
) -> bytes:
    """The key of the mask that two hospitals share in a round; ``pair`` in either order."""
    low, high = sorted(pair)
    return expand(shared_secret, session.context("pairwise mask", round_number, model, low, high))


def self_mask_key(seed: bytes, session: Session, round_number: int, model: bytes, owner: int) -> bytes:
    """The key of a hospital's own mask in a round."""
    return expand(seed, session.context("self mask", round_number, model, owner))


def noise_key(seed: bytes, session: Session, round_number: int, owner: int, component: int) -> bytes:
    """The key that a component of a hospital's noise is drawn with in a round."""
    return expand(seed, session.context("noise", round_number, owner, component))


def noise_tag_pad(seed: bytes, session: Session, round_number: int, owner: int, component: int) -> int:
    """What hides the tag of a component of noise from all who do not have its seed, below 2^256."""
    return int.from_bytes(expand(seed, session.context("noise tag pad", round_number, owner, component)), "little")


def share_sealing_key(shared_secret: bytes, session: Session, roster: bytes, dealer: int, recipient: int) -> bytes:
    """The key that seals one dealer's shares for one recipient: see `secagg.masking.sealing`."""
    return expand(shared_secret, session.context("share sealing", 0, roster, dealer, recipient))


def self_mask_commitment(seed: bytes, session: Session, round_number: int, owner: int) -> bytes:
    """Commits a hospital to its self-mask seed: hiding, because the seed is uniform over 256 bits."""
    return hashlib.sha256(session.context("self mask commitment", round_number, owner) + seed).digest()


def noise_seed_commitment(seed: bytes, session: Session, round_number: int, owner: int, component: int) -> bytes:
    """Commits a hospital to the seed of a component of its noise: hiding, because the seed is uniform over 256 bits."""
    return hashlib.sha256(session.context("noise seed commitment", round_number, owner, component) + seed).digest()


def tag_contribution_commitment(contribution: bytes, session: Session, owner: int) -> bytes:
    """Commits a hospital to its part of the epoch's tag key, before it has seen anybody else's."""
    return hashlib.sha256(session.context("tag contribution commitment", 0, owner) + contribution).digest()


def epoch_tag_key(contributions: Mapping[int, bytes], session: Session, roster: bytes) -> bytes:
    """The tag key of an epoch: uniform and secret from the coordinator if one contributor is honest."""
    parts = b"".join(contributions[member] for member in sorted(contributions))
    return expand(parts, session.context("epoch tag key", 0, roster))


def epoch_group_key(contributions: Mapping[int, bytes], session: Session, roster: bytes) -> bytes:
    """What all hospitals of an epoch know and the coordinator does not, made of the same contributions as the tag key.

    The secret that vectors are encrypted under follows from it, and what seals revealed shares.
    """
    parts = b"".join(contributions[member] for member in sorted(contributions))
    return expand(parts, session.context("epoch group key", 0, roster))


def encryption_seed(group_key: bytes, session: Session) -> bytes:
    """What the epoch's homomorphic secret is generated from: 64 bytes."""
    return b"".join(expand(group_key, session.context("homomorphic secret", 0, part)) for part in range(2))


def reveal_sealing_key(
    group_key: bytes, session: Session, round_number: int, responder: int, survivors: bytes
) -> bytes:
    """The key that seals one hospital's shares of one round for the group: see `secagg.masking.sealing`."""
    return expand(group_key, session.context("reveal sealing", round_number, responder, survivors))


def tag_pad(group_key: bytes, session: Session, round_number: int, owner: int) -> int:
    """What hides a hospital's tag under an encrypted scheme, below 2^256: only the epoch's hospitals can make it."""
    return int.from_bytes(expand(group_key, session.context("tag pad", round_number, owner)), "little")


def round_tag_key(epoch_key: bytes, session: Session, round_number: int, model: bytes) -> bytes:
    """The key of one round's tags. Hospitals that start from another model make another key."""
    return expand(epoch_key, session.context("round tag key", round_number, model))


def noise_tag_key(epoch_key: bytes, session: Session, round_number: int, model: bytes, component: int) -> bytes:
    """The key of the offsets in one round's tags of one component of noise."""
    return expand(epoch_key, session.context("noise tag key", round_number, model, component))


def share_digest(
    share: bytes, session: Session, round_number: int, secret: Secret, dealer: int, recipient: int, component: int = 0
) -> bytes:
    """Commits a dealer to the share it gave one recipient, so that a wrong share shows whose fault it is.

    Args:
        component: of a noise seed, from 1; 0 for the other secrets.
    """
    return share_digests([share], [share_label(session, round_number, secret, component)], dealer, recipient)[0]


def share_label(session: Session, round_number: int, secret: Secret, component: int = 0) -> ShareLabel:
    """The label of `share_digest` for whomever it is from and to: it takes longer to make than to hash."""
    return session.context(secret, round_number), extend(b"", component) if component else b""


def share_digests(shares: Iterable[bytes], labels: Iterable[ShareLabel], dealer: int, recipient: int) -> list[bytes]:
    """`share_digest` of each share, by its label."""
    pair = extend_by_pair(b"", dealer, recipient)
    return [
        hashlib.sha256(before + pair + after + share).digest()
        for (before, after), share in zip(labels, shares, strict=True)
    ]


def expand(secret: bytes, info: bytes) -> bytes:
    """HKDF-SHA256 of ``secret`` under a label: 32 bytes."""
    return HKDF(algorithm=SHA256(), length=KEY_SIZE, salt=None, info=info).derive(secret)
