"""The smallest number of hospitals over which a sum is safe, where everybody masks with everybody.

For a graph of neighbours see `secagg.graph`.
"""

from __future__ import annotations


def smallest_threshold(members: int, colluding: int) -> int:
    """The smallest safe t for n members of which c collude: floor((n + c) / 2) + 1.

    Below it a coordinator could name two survivor sets and collect t shares for each: a victim's self-mask seed with
    one, its mask key with the other. With t at this value, two sets of t responders share more than c members, so at
    least one honest hospital, which answers only once. At least two honest hospitals remain in every sum.
    """
    return max((members + colluding) // 2 + 1, colluding + 2)
