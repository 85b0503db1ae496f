"""The policy of a site that has agreed to one charter. Knows which of a charter's terms a policy speaks of."""

from __future__ import annotations

from secagg.charter import VerifiedCharter
from secagg.identity import fingerprint
from secagg.policy import Policy


def policy_for(charter: VerifiedCharter) -> Policy:
    """The policy that a site would write which has agreed to this charter and to nothing beyond it."""
    content = charter.charter
    privacy = content.privacy
    return Policy(
        known_members=frozenset(fingerprint(member.public_key) for member in content.members),
        minimum_cohort=content.threshold,
        allowed_schemes=frozenset({content.scheme}),
        allowed_privacy_modes=frozenset({privacy.mode}),
        maximum_epsilon=privacy.budget or Policy().maximum_epsilon,
        maximum_delta=privacy.delta,
        maximum_weight=content.encoding.max_weight,
        allowed_tasks=frozenset({content.task.kind}),
        release_exact_metrics="allow" if content.metrics.release == "exact" else "refuse",
    )
