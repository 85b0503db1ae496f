"""Builds that take charters, values and the content of messages as they come."""

from __future__ import annotations

from contextlib import ExitStack
from unittest.mock import patch

import numpy as np

from secagg.charter import contradictions, thresholds
from secagg.encoding import Layout
from secagg.policy import checks
from training.testbed.build import Build, Control
from training.vector_layout import MeanUpdate, UpdateVector

from .cohorts import AnswersForAnySet


def without_contradictions():
    """Charters that may contradict themselves."""
    stack = ExitStack()
    for check in ("members", "threshold", "graph", "homomorphic", "privacy", "distributed", "metrics"):
        stack.enter_context(patch.object(contradictions, f"_check_{check}", lambda charter: None))
    return stack


def without_member_check():
    return patch.object(contradictions, "_check_members", lambda charter: None)


def with_weak_keys():
    return patch.object(contradictions, "is_weak", lambda key: False)


def with_any_threshold():
    return patch.object(thresholds, "smallest_threshold", lambda members, colluding: 2)


def without_policy():
    return patch("secagg.masking.client.check_charter", lambda *arguments: None)


def with_any_members():
    others = {key: check for key, check in checks.CHECKS.items() if check is not checks.known_members}
    return patch.object(checks, "CHECKS", others)


def without_charter_signatures():
    return patch("secagg.charter.signing.is_valid_signature", lambda *arguments: True)


def without_sizes():
    return patch("secagg.masking.server_set_up.check_advertisement_sizes", lambda *arguments: None)


def without_limits():
    """An encoder that rounds, and looks no further."""

    def encode(layout, section, array, target):
        with np.errstate(invalid="ignore"):
            rounded = np.rint(np.asarray(array, np.float64) * layout.scale(section)).astype(np.int64)
        target[:] = layout.ring.from_signed(rounded)

    return patch.object(Layout, "_encode", encode)


def with_any_weight():
    """Means that are divided by whatever weight there is."""

    def decode(codec, total):
        *parts, weight = codec.layout.decode(total)
        with np.errstate(divide="ignore"):
            return MeanUpdate(np.concatenate(parts) * (codec.charter.encoding.max_weight / weight), codec.counts(total))

    return patch.object(UpdateVector, "decode", decode)


_NO_LIMITS = Control(Build(in_force=without_limits), "the encoder's limits")

CONTROLS = {
    "hostile-charter-fields": Control(Build(in_force=without_contradictions), "rules against contradictions"),
    "charter-beyond-policy": Control(Build(in_force=without_policy), "the site's policy"),
    "charter-altered-after-signing": Control(Build(in_force=without_charter_signatures), "signatures on the charter"),
    "sybil-cohort": Control(Build(in_force=with_any_members), "known members only"),
    "one-key-under-three-names": Control(Build(in_force=without_member_check), "members that differ"),
    "key-that-anybody-signs-for": Control(Build(in_force=with_weak_keys), "the look for weak keys"),
    "minority-threshold": Control(Build(in_force=with_any_threshold), "the least threshold"),
    "hostile-coordinator-fields": Control(
        Build(client=AnswersForAnySet), "the rules on survivor sets, and the agreement"
    ),
    "hostile-hospital-fields": Control(Build(in_force=without_sizes), "the sizes of what is advertised"),
    "wraparound": _NO_LIMITS,
    "no-numbers": _NO_LIMITS,
    "hostile-weights": _NO_LIMITS,
    "false-weights": Control(Build(in_force=with_any_weight), "the look at a sum's weight"),
}
