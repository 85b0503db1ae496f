"""What this site accepts, whatever a charter says. Local, never sent."""

from secagg.policy.acceptance import accept_policy, load_policy, put_in_force
from secagg.policy.checks import check_charter
from secagg.policy.model import Policy
from secagg.policy.toml import render_policy

__all__ = ["Policy", "accept_policy", "check_charter", "load_policy", "put_in_force", "render_policy"]
