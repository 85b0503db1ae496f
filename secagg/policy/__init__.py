"""What this site accepts: local, never sent, stricter than any charter where they differ."""

from secagg.policy.checks import check_charter
from secagg.policy.model import Policy, load_policy, render_policy

__all__ = ["Policy", "check_charter", "load_policy", "render_policy"]
