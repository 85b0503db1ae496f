"""Builds that do not look at what hospitals encrypt under, nor at what they hand to the coordinator."""

from __future__ import annotations

from hashlib import sha256
from unittest.mock import patch

import zstandard
from tenseal import sealapi

from secagg.homomorphic import serialized
from secagg.homomorphic.parameters import ALLOWED, Encryption
from secagg.homomorphic.seal import Channel, encryption_parameters, header, make_context
from secagg.masking.server_set_up import SetUp
from training.testbed.build import Build, Control

from .set_up import without_roster_digests
from .sums import both


def without_lists():
    """Charters with parameters of any strength, as long as they have a name."""
    return patch("secagg.homomorphic.parameters.require_secure", lambda *arguments: None)


def without_levels():
    """Whatever SEAL can compute with. Three looks are taken, one behind the other: ours, and SEAL's own."""

    def make_context(parameters, encryption, plain_bits, seed=None):
        chosen = encryption_parameters(parameters, encryption, plain_bits)
        return sealapi.SEALContext(chosen, True, sealapi.SEC_LEVEL_TYPE.NONE)

    # The seed of the known answer gives another polynomial under another modulus.
    nothing = patch.multiple(serialized, _EXPANDED_COUNT=0, _EXPANDED=sha256(b"").hexdigest())
    return both(patch("secagg.homomorphic.cipher.make_context", make_context), nothing)


def without_context_check():
    return patch("secagg.homomorphic.context.check_context", lambda *arguments: None)


def with_a_question_to_seal():
    """Keys are found by having SEAL load what came. Inflated here, as SEAL 4.1 does it: 4.3 inflates what it reads."""

    def may_hold_secret(data):
        content = zstandard.ZstdDecompressor().decompressobj().decompress(data[len(header(0)) :])
        channel, context = Channel(len(content)), make_context(ALLOWED["n4096-q60"], Encryption.CKKS, 33)
        try:
            channel.load(sealapi.SecretKey(), context, content)
        except (ValueError, RuntimeError):
            return False
        finally:
            channel.close()
        return True

    return patch("secagg.homomorphic.context._may_hold_secret", may_hold_secret)


def without_comparison():
    """Acknowledgements are counted only."""
    return patch.object(SetUp, "agreeing", property(lambda set_up: set_up.acknowledged))


_ANY_CONTEXT = Control(Build(in_force=without_context_check), "the check of acknowledged contexts")

CONTROLS = {
    "weak-parameters": Control(Build(in_force=without_lists), "the check of listed parameters"),
    "weak-parameters-in-use": Control(Build(in_force=without_levels), "the check of the actual parameters"),
    "swapped-parameters": _ANY_CONTEXT,
    "swapped-secret": Control(Build(in_force=without_comparison), "the comparison of fingerprints"),
    "two-group-secrets": Control(Build(in_force=without_roster_digests), "the digest of the roster in every deal"),
    "key-material-at-the-coordinator": _ANY_CONTEXT,
    "inflated-context": Control(Build(in_force=with_a_question_to_seal), "the look at how a context begins"),
}
