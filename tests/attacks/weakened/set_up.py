"""Builds that believe what they are told about keys and shares."""

from __future__ import annotations

from dataclasses import replace
from unittest.mock import patch

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from secagg.masking import MaskingClient, Purpose
from secagg.masking.dealing import EpochSecrets, HeldShares
from secagg.masking.messages import Deal, Deals
from secagg.masking.neighbours import roster_digest
from secagg.wire import open_envelope
from secagg.wire.envelope import decode
from training.testbed.build import Build, Control


class EqualToAll:
    """What a check compares with when it is not made."""

    def __eq__(self, other: object) -> bool:
        return True

    def __ne__(self, other: object) -> bool:
        return False

    __hash__ = None


ANY = EqualToAll()


def without_signatures():
    return patch("secagg.wire.envelope.is_valid_signature", lambda *arguments: True)


def with_any_roster():
    """A hospital that does not look for its own keys on the roster."""
    return patch.object(EpochSecrets, "advertisement", own_or_any())


def own_or_any():
    original = EpochSecrets.advertisement

    def advertisement(secrets):
        # The first call makes what is sent; later ones are what a roster is compared with.
        if getattr(secrets, "advertised", False):
            return ANY
        secrets.advertised = True
        return original(secrets)

    return advertisement


def without_roster_digests():
    """Twice over: the digest is compared, and it is in the key that seals the shares."""
    return patch("secagg.masking.epoch.roster_digest", lambda *parts: bytes(32))


def with_epochs_opened_in_any_way():
    """The digest of a roster says nothing of how its epoch was opened."""

    def of_one_way(participants, roster, session):
        return roster_digest(participants, roster, replace(session, purpose=Purpose.TRAINING, first_round=1, rounds=1))

    return patch("secagg.masking.epoch.roster_digest", of_one_way)


def with_weak_keys():
    """X25519 that gives a secret of zeros where a key is of low order."""

    def agree_with_each(private_key, peers):
        own, secrets = X25519PrivateKey.from_private_bytes(private_key), []
        for public, _ in peers:
            try:
                secrets.append(own.exchange(X25519PublicKey.from_public_bytes(public)))
            except ValueError:
                secrets.append(bytes(32))
        return secrets

    return patch("secagg.masking.kdf.agree_with_each", agree_with_each)


class TakesAnyDeal(MaskingClient):
    """Takes shares as they come: neither unsealed, compared nor counted."""

    def _collect(self, payload: Deals) -> list[bytes]:
        epoch, collected = self._current(), {}
        for message in payload.deals:
            envelope = open_envelope(message, self._charter, 1 << 20)
            deal = decode(envelope.payload, Deal)
            collected[envelope.header.sender] = HeldShares.split(deal.sealed_shares, epoch.session.secrets_a_round)
        epoch.participants = frozenset(collected) | {self.number}
        epoch.take_deals(collected)
        return []


SIGNATURES = Control(Build(in_force=without_signatures), "signatures")

CONTROLS = {
    "key-substitution": SIGNATURES,
    "own-keys-exchanged": Control(Build(in_force=with_any_roster), "the look for its own keys on the roster"),
    "two-rosters": Control(Build(in_force=without_roster_digests), "the digest of the roster in every deal"),
    "epoch-opened-in-two-ways": Control(
        Build(in_force=with_epochs_opened_in_any_way), "what the epoch was opened as, in the digest of the roster"
    ),
    "low-order-key": Control(Build(in_force=with_weak_keys), "the refusal of secrets of zeros"),
    "low-order-key-to-stop-all": Control(Build(in_force=with_weak_keys), "the refusal of secrets of zeros"),
    "altered-deals": Control(Build(client=TakesAnyDeal), "the checks of a deal"),
}
