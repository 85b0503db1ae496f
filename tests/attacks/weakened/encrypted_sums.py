"""Builds that take an encrypted sum for what it is said to be."""

from __future__ import annotations

from unittest.mock import patch

from secagg.masking.server_round import ServerRound
from training.testbed.build import Build, Control

from .cohorts import WithoutGuard
from .group_secret import with_open_tags, without_pads
from .sums import both, without_check, without_rounds_in_tags


def without_signatures_of_contributors():
    return patch("secagg.masking.client.require_contributions", lambda *arguments: None)


def without_rounds():
    return both(without_rounds_in_tags(), without_pads())


def with_vectors_of_any_round():
    return patch.object(ServerRound, "_require_begun", lambda *arguments: None)


_UNCHECKED = Control(Build(in_force=without_check), "the check of sums")

CONTROLS = {
    "one-ciphertext-as-the-sum": _UNCHECKED,
    "ciphertext-counted-twice": _UNCHECKED,
    "ciphertext-left-out": _UNCHECKED,
    "ciphertext-of-somebody-unnamed": _UNCHECKED,
    "doubled-ciphertexts": Control(Build(in_force=with_open_tags), "the secret offset and the pad of each tag"),
    "unsigned-contributors": Control(
        Build(in_force=without_signatures_of_contributors), "the signatures of those who are in a sum"
    ),
    "encrypted-sum-of-an-earlier-round": Control(
        Build(in_force=without_rounds), "tag keys and pads bound to the round"
    ),
    "foreign-encrypted-sums": _UNCHECKED,
    "foreign-ciphertexts": Control(Build(in_force=with_vectors_of_any_round), "the comparison of rounds"),
    "two-encrypted-sums-of-one-step": Control(Build(client=WithoutGuard), "the differencing guard"),
}
