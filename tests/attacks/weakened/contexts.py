"""Builds that do not look at what hospitals encrypt under, nor at what they hand to the coordinator."""

from __future__ import annotations

from unittest.mock import patch

from tenseal import sealapi

from secagg.homomorphic.seal import encryption_parameters
from secagg.masking import MaskingServer
from training.attacks.build import Build, Control

from .set_up import without_roster_digests


def without_lists():
    """Charters with parameters of any strength, as long as they have a name."""
    return patch("secagg.homomorphic.parameters.require_secure", lambda *arguments: None)


def without_levels():
    """Whatever SEAL can compute with. Three looks are taken, one behind the other: ours, and SEAL's own."""

    def make_context(parameters, encryption, plain_bits, seed=None):
        chosen = encryption_parameters(parameters, encryption, plain_bits)
        return sealapi.SEALContext(chosen, True, sealapi.SEC_LEVEL_TYPE.NONE)

    return patch("secagg.homomorphic.cipher.make_context", make_context)


def without_context_check():
    return patch("secagg.homomorphic.context.check_context", lambda *arguments: None)


class TakesAnySecret(MaskingServer):
    """Counts acknowledgements, and does not compare them."""

    def _take_acknowledgement(self, sender, name, acknowledged):
        self._acknowledged[sender] = b""


_ANY_CONTEXT = Control(Build(in_force=without_context_check), "the check of acknowledged contexts")

CONTROLS = {
    "weak-parameters": Control(Build(in_force=without_lists), "the check of listed parameters"),
    "weak-parameters-in-use": Control(Build(in_force=without_levels), "the check of the actual parameters"),
    "swapped-parameters": _ANY_CONTEXT,
    "swapped-secret": Control(Build(server=TakesAnySecret), "the comparison of fingerprints"),
    "two-group-secrets": Control(Build(in_force=without_roster_digests), "the digest of the roster in every deal"),
    "key-material-at-the-coordinator": _ANY_CONTEXT,
}
