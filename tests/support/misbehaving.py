"""A coordinator that may do anything: that of the attack suite, under the name that tests have for it."""

from __future__ import annotations

from collections.abc import Iterable

from secagg.encoding import unpack
from secagg.masking.round_tags import round_tag
from training.attacks.coordinator import LyingCoordinator as MisbehavingCoordinator
from training.attacks.coordinator import detached
from training.testbed.consortium import MODEL_DIGEST

__all__ = ["MisbehavingCoordinator", "detached", "sum_with_a_traitor"]


def sum_with_a_traitor(
    coordinator: MisbehavingCoordinator, survivors: Iterable[int], packed: bytes, step: int = 1
) -> bytes:
    """A forged sum with the tag that fits, made with the key that a colluding hospital gave away."""
    named, session = tuple(survivors), coordinator.session
    vector = unpack(packed, session.length, session.ring)
    fitting = round_tag(vector, session, coordinator.clients[1].tag_key, coordinator.round, MODEL_DIGEST, named)
    return coordinator.sum_message(named, packed, step, fitting)
