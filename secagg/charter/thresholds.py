"""The smallest number of hospitals over which a sum is safe, and over how many one surely is.

What a graph of neighbours hides, and when, is in `secagg.graph`.
"""

from __future__ import annotations

from secagg.charter.sections import NeighbourGraph


def smallest_threshold(members: int, colluding: int) -> int:
    """The smallest safe t for n members of which c collude: floor((n + c) / 2) + 1.

    Below it a coordinator could name two survivor sets and collect t shares for each: a victim's self-mask seed with
    one, its mask key with the other. With t at this value, two sets of t responders share more than c members, so at
    least one honest hospital, which answers only once. At least two honest hospitals remain in every sum.
    """
    return max((members + colluding) // 2 + 1, colluding + 2)


def surely_summed(members: int, threshold: int, colluding: int, graph: NeighbourGraph) -> int:
    """The fewest hospitals that any sum is over, up to c colluding ones included, whatever a lying coordinator does.

    Among neighbours it can leave named hospitals out of a sum: more than half of the honest ones are in it, whatever
    the threshold (`secagg.graph`).
    """
    return min(threshold, smallest_threshold(members, colluding)) if graph.degree else threshold
