"""The neighbour graph of large consortia: how many neighbours each hospital needs, from exact tails.

Knows counts and probabilities. Knows no keys and no messages.

After Bell et al. 2020 (Secure single-server aggregation with (poly)logarithmic overhead, CCS 2020): a hospital masks
with a few others instead of all, and deals its shares to those. Here each hospital draws its own k holders uniformly
from the n - 1 others, with its own random numbers: nobody can steer the draw of an honest hospital, and no message is
needed for a common seed. It masks with the holders it drew and with those who drew it.

Two things may fail, and both bounds below are upper bounds, for colluders that were chosen before the draw:

- *Hiding.* The coordinator names the survivors after it has seen the graph, and chooses who takes part. It learns the
  sum over a set S of honest hospitals if their masks with all others can be taken off and all their self-masks rebuilt;
  then each has t or more of its k holders in S or among the c colluders. That there is such an S of s hospitals, at
  most half of the n - c honest ones, happens with probability at most

      sum over s of  C(n - c, s) * P[Hypergeometric(n - 1, c + s - 1, k) >= t]^s.

  The term of s = 1 is also the chance that colluders alone can rebuild a hospital's secrets. Proof: `docs/protocol.md`.
- *Recovery.* With ``dropped`` hospitals gone, some hospital has fewer than t holders left: at most
  n * P[Hypergeometric(n - 1, dropped, k) > k - t].
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

SECURITY_BITS: Final = 40
"""Either thing fails with probability at most 2^-40."""
COMPLETE_UP_TO: Final = 100
"""Up to so many hospitals everybody masks with everybody."""

# Logarithms of exact integers are right to 2^-50; every sum of them is rounded up by far more.
_ROUNDING: Final = 2.0**-20


@dataclass(frozen=True)
class Graph:
    """k and t: each hospital draws ``degree`` holders, of which any ``threshold`` rebuild its secrets."""

    degree: int
    threshold: int


@lru_cache(maxsize=256)
def hiding_bound(members: int, colluding: int, graph: Graph) -> float:
    """log2 of the bound on the chance that a sum over half of the honest hospitals or fewer can be had."""
    sizes = range(1, (members - colluding) // 2 + 1)
    return _log2_of_sum([_group_chance(members, colluding, graph, size) for size in sizes])


@lru_cache(maxsize=256)
def recovery_bound(members: int, dropped: int, graph: Graph) -> float:
    """log2 of the bound on the chance that a hospital has too few holders left when ``dropped`` are gone."""
    lost = _draws_with(members - 1, dropped, graph.degree, graph.degree - graph.threshold + 1)
    if not lost:
        return -math.inf
    return math.log2(members * lost) - math.log2(math.comb(members - 1, graph.degree)) + _ROUNDING


def smallest_threshold_of(members: int, colluding: int, degree: int) -> int | None:
    """The smallest t that hides with ``degree`` neighbours; None if none does."""
    return next((t for t in range(1, degree + 1) if _hides(members, colluding, Graph(degree, t))), None)


def smallest_graph(members: int, colluding: int, dropped: int) -> Graph | None:
    """The fewest neighbours that hide and recover, each but for 2^-40, and the largest t that recovers.

    Args:
        dropped: how many hospitals may be gone at once.

    Returns:
        None if no graph with fewer neighbours than everybody does.
    """
    for degree in range(2, members - 1):
        threshold = _largest_recovering(members, dropped, degree)
        if threshold and _hides(members, colluding, Graph(degree, threshold)):
            return Graph(degree, threshold)
    return None


def _hides(members: int, colluding: int, graph: Graph) -> bool:
    # Most graphs that do not hide fail for the smallest groups or for the largest.
    for size in (1, (members - colluding) // 2):
        if size and _group_chance(members, colluding, graph, size) > -SECURITY_BITS:
            return False
    return hiding_bound(members, colluding, graph) <= -SECURITY_BITS


def _group_chance(members: int, colluding: int, graph: Graph, size: int) -> float:
    """log2 of the term of all groups of ``size`` honest hospitals."""
    draws = _draws_with(members - 1, min(colluding + size - 1, members - 1), graph.degree, graph.threshold)
    if not draws:
        return -math.inf
    chance = math.log2(draws) - math.log2(math.comb(members - 1, graph.degree))
    return math.log2(math.comb(members - colluding, size)) + size * chance


def _largest_recovering(members: int, dropped: int, degree: int) -> int:
    """The largest t with which every hospital keeps t holders, but for 2^-40; 0 if there is none."""
    total = math.comb(members - 1, degree) >> SECURITY_BITS
    lost, threshold = 0, 0
    # With t of k: too many are lost if k - t + 1 or more are; those counts come one by one, from k down.
    for ways in reversed(list(_ways(members - 1, dropped, degree, 0))):
        lost += ways
        if members * lost > total:
            break
        threshold += 1
    return min(threshold, degree)


def _draws_with(population: int, marked: int, drawn: int, least: int) -> int:
    """How many of the draws of ``drawn`` hold ``least`` of the ``marked`` or more. Exact."""
    return sum(_ways(population, marked, drawn, least))


def _ways(population: int, marked: int, drawn: int, least: int) -> Iterator[int]:
    """For each j from ``least`` to ``drawn``: how many draws hold exactly j of the marked. Exact."""
    others = population - marked
    first, last = max(least, drawn - others), min(marked, drawn)
    yield from (0 for _ in range(least, min(first, drawn + 1)))
    if first <= last:
        ways = math.comb(marked, first) * math.comb(others, drawn - first)
        yield ways
        for hit in range(first, last):
            ways = ways * (marked - hit) * (drawn - hit) // ((hit + 1) * (others - drawn + hit + 1))
            yield ways
    yield from (0 for _ in range(max(first, last + 1), drawn + 1))


def _log2_of_sum(terms: list[float]) -> float:
    largest = max(terms, default=-math.inf)
    if largest == -math.inf:
        return largest
    return largest + math.log2(sum(2.0 ** (term - largest) for term in terms)) + _ROUNDING
