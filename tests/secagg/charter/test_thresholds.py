"""The smallest threshold is safe, and one less is not."""

from __future__ import annotations

from itertools import combinations

import pytest

from secagg.charter.thresholds import smallest_threshold

# The counting behind the smallest threshold. c colluders hand their shares to the coordinator for both purposes; an
# honest hospital answers once, so it helps to rebuild either the victim's self-mask seed or its mask key.


def both_secrets_can_be_rebuilt(members: int, colluding: int, threshold: int) -> bool:
    """Whether two sets of honest responders with no one in common reach the threshold, each with the colluders."""
    honest = set(range(members - colluding))
    needed = max(threshold - colluding, 0)
    return any(
        any(True for _ in combinations(honest - set(first), needed)) for first in combinations(sorted(honest), needed)
    )


CASES = [(n, c) for n in range(3, 10) for c in range(n) if smallest_threshold(n, c) <= n]


@pytest.mark.parametrize(("members", "colluding"), CASES)
def test_no_two_sets_of_responders_rebuild_both_secrets_at_the_smallest_threshold(members, colluding):
    smallest = smallest_threshold(members, colluding)
    assert not both_secrets_can_be_rebuilt(members, colluding, smallest)
    assert both_secrets_can_be_rebuilt(members, colluding, smallest - 1)
    assert smallest - colluding >= 2
