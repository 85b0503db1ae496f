"""Builds that let go of noise that must stay, or that take noise for what it is said to be."""

from __future__ import annotations

from unittest.mock import patch

import msgspec

from secagg.masking import revealing
from secagg.masking.session import Session
from training.testbed.build import Build, Control

from .members import with_any_shares
from .memory import Forgetful, ForgetfulLatch
from .sums import without_check, without_offsets


def with_all_noise():
    """A hospital that gives shares of all noise, however few survive."""
    original = revealing.shares_for

    def shares_for(survivors, inputs, held, session, round_number):
        honest = original(survivors, inputs, held, session, round_number)
        with patch.object(Session, "removed_components", lambda own, _: range(1, own.noise_components + 1)):
            every = original(survivors, inputs, held, session, round_number)
        return msgspec.structs.replace(honest, seed_shares=every.seed_shares)

    return patch("secagg.masking.client.shares_for", shares_for)


def without_noise_commitments():
    return patch("secagg.masking.kdf.noise_seed_commitment", lambda *arguments: bytes(32))


def without_pads():
    """Tags of components that their seeds do not hide."""
    return patch("secagg.masking.kdf.noise_tag_pad", lambda *arguments: 0)


CONTROLS = {
    "noise-of-a-larger-cohort": Control(Build(in_force=with_all_noise), "the count of survivors by each hospital"),
    "noise-asked-twice": Control(
        Build(client=Forgetful, latch=ForgetfulLatch), "the memory of what was answered, and the differencing guard"
    ),
    "kept-noise-from-its-tag": Control(Build(in_force=without_pads), "the pads of the tags of noise"),
    "wrong-noise-removed": Control(Build(in_force=without_check), "the check of sums"),
    "noise-with-its-own-tag": Control(Build(in_force=without_offsets), "the secret offset of each tag"),
    "false-noise-shares": Control(Build(in_force=with_any_shares), "the digests of dealt shares"),
    "false-noise-dealing": Control(Build(in_force=without_noise_commitments), "commitments to noise seeds"),
}
