"""The policy of a site that has agreed to one charter."""

from __future__ import annotations

from msgspec.structs import replace

from secagg.charter import VerifiedCharter
from secagg.policy import Policy
from secagg.policy.needs import needed_policy


def policy_for(charter: VerifiedCharter) -> Policy:
    """The policy that a site would write which has agreed to this charter and to nothing beyond it."""
    return replace(needed_policy(charter.charter), minimum_honest=Policy().minimum_honest)
