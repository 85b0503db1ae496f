"""A coordinator that may do anything: that of the attack suite, under the name that tests have for it."""

from __future__ import annotations

from training.attacks.coordinator import LyingCoordinator as MisbehavingCoordinator
from training.attacks.coordinator import detached

__all__ = ["MisbehavingCoordinator", "detached"]
