"""Builds that give SEAL whatever comes, and take masks off with whatever shares give."""

from __future__ import annotations

from unittest.mock import patch

from secagg.masking import shamir
from secagg.masking.rebuilding import lowest
from secagg.masking.sifting import Sifting
from training.testbed.build import Build, Control

from .sums import both, without_check


def without_residue_check():
    return patch("secagg.homomorphic.cipher.check_each", lambda *arguments: None)


def with_any_shares():
    """Neither the commitments to secrets are looked at, nor the tag of the sum: one stands behind the other."""
    return both(patch.object(Sifting, "rebuild", from_the_first_shares), without_check())


def from_the_first_shares(sifting, owner, is_right):
    return shamir.reconstruct(lowest(sifting.shares[owner], sifting.session.share_threshold))


CONTROLS = {
    "malformed-ciphertexts": Control(Build(in_force=without_residue_check), "the look at every residue"),
    "false-sealed-shares": Control(
        Build(in_force=with_any_shares), "commitments to shared secrets, and the check of sums"
    ),
}
