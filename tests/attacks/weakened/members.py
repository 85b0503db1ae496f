"""Builds of a coordinator, and of peers, that believe a hospital."""

from __future__ import annotations

from unittest.mock import patch

from secagg.masking.server_gate import Gate
from secagg.masking.unmasking import Unmasking
from training.testbed.build import Build, Control

from .set_up import SIGNATURES


def with_any_shares():
    return patch.object(Unmasking, "_check", lambda *arguments: None)


def without_commitments():
    return patch("secagg.masking.kdf.self_mask_commitment", lambda *arguments: bytes(32))


def without_tag_commitments():
    return patch("secagg.masking.kdf.tag_contribution_commitment", lambda *arguments: bytes(32))


def without_memory():
    """A coordinator that does not remember what came before."""
    return patch.object(Gate, "remember", lambda *arguments: None)


CONTROLS = {
    "false-shares": Control(Build(in_force=with_any_shares), "the digests of dealt shares"),
    "false-dealing": Control(Build(in_force=without_commitments), "commitments to self-mask seeds"),
    "false-tag-key": Control(Build(in_force=without_tag_commitments), "commitments to parts of the tag key"),
    "equivocation": Control(Build(in_force=without_memory), "the memory of what a hospital has sent"),
    "signed-by-another": SIGNATURES,
}
