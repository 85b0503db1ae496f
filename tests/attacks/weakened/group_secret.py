"""Builds that encrypt and do not mask, or that leave something in clear, or encrypt twice with the same noise."""

from __future__ import annotations

from unittest.mock import patch

from tenseal import sealapi

from secagg.homomorphic.cipher import Cipher
from secagg.homomorphic.seal import make_context
from secagg.masking.epoch import Epoch
from secagg.masking.group import GroupCipher
from secagg.masking.messages import AEAD_OVERHEAD, Acknowledge, SealedReveal
from training.testbed.build import Build, Control

from .sums import both, without_offsets


def with_one_lock():
    """The scheme bfv, where the charter should say double-lock."""
    return patch("training.attacks.group_secret.WITH_MASKS", "bfv")


def without_masks():
    """Double lock without its masks."""
    return patch.object(Epoch, "mask_keys", lambda *arguments: [])


def without_own_masks():
    """Double lock with the masks alone that hospitals share with one another."""
    original = Epoch.mask_keys
    return patch.object(Epoch, "mask_keys", lambda epoch, *round_and_model: original(epoch, *round_and_model)[1:])


def with_open_reveals():
    """Shares for the others that anybody can read."""

    def seal_reveal(group, reveal, round_number, responder):
        shares = reveal.seed_shares + reveal.mask_key_shares
        return SealedReveal(reveal.survivors_digest, reveal.inputs_digest, shares + bytes(AEAD_OVERHEAD))

    return patch.object(GroupCipher, "seal_reveal", seal_reveal)


def with_the_key_in_acknowledgements():
    """Whoever has the same key has the same secret: it says so itself."""
    original = GroupCipher.acknowledgement
    return patch.object(
        GroupCipher, "acknowledgement", lambda group: Acknowledge(original(group).context, fingerprint=group._key)
    )


def with_seeded_noise():
    """Encryption under the context that the secret was generated in: the seed makes the noise too."""
    original = Cipher.__init__

    def seeded(cipher, spec, seed):
        original(cipher, spec, seed)
        context = make_context(spec.parameters, spec.encryption, spec.bits, seed)
        cipher._encryptor = sealapi.Encryptor(context, cipher._secret)

    return patch.object(Cipher, "__init__", seeded)


def without_pads():
    """Tags that are as they were computed where vectors are not masked."""
    return patch("secagg.masking.kdf.tag_pad", lambda *arguments: 0)


def with_open_tags():
    """Nothing of a tag but the product with the vector: neither its offset nor its pad, one behind the other."""
    return both(without_offsets(), without_pads())


CONTROLS = {
    "shared-secret-on-all-ciphertexts": Control(Build(in_force=with_one_lock), "the masks: the scheme is bfv"),
    "shared-secret-on-a-late-vector": Control(Build(in_force=without_own_masks), "each hospital's own mask"),
    "shares-in-sealed-reveals": Control(Build(in_force=with_open_reveals), "the seal on revealed shares"),
    "secret-from-acknowledgements": Control(
        Build(in_force=with_the_key_in_acknowledgements), "a fingerprint in the secret's place"
    ),
    "repeated-encryption-noise": Control(Build(in_force=with_seeded_noise), "noise of the operating system's"),
    "equal-vectors-by-their-tags": Control(Build(in_force=with_open_tags), "the secret offset and the pad of each tag"),
    "guess-with-a-stolen-tag-key": Control(
        Build(in_force=without_pads), "tags hidden by a key that goes with the epoch"
    ),
}
