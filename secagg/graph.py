"""The neighbour graph of large consortia: how many neighbours each hospital needs, from exact tails.

Knows counts and probabilities. Knows no keys and no messages.

After Bell et al. 2020 (Secure single-server aggregation with (poly)logarithmic overhead, CCS 2020): a hospital masks
with a few others instead of all, and deals its shares to those. Here each hospital draws its own k holders uniformly
from the n - 1 others, with its own random numbers: nobody can steer the draw of an honest hospital, and no message is
needed for a common seed. It masks with the holders it drew and with those who drew it.

Two things may fail, and both bounds below are upper bounds, for colluders that were chosen before the draw:

- *Hiding.* The coordinator names the survivors after it has seen the graph. It learns a partial sum if honest survivors
  fall apart into groups without a mask between them. In the smaller group S of s hospitals, at most half of the n - c
  honest ones, everybody's self-mask must be rebuilt, so each has t or more of its k holders in S or among the c
  colluders. Over all S that happens with probability at most

      sum over s of  C(n - c, s) * P[Hypergeometric(n - 1, c + s - 1, k) >= t]^s.

  The term of s = 1 is also the chance that colluders alone can rebuild a hospital's secrets.
- *Recovery.* With ``dropped`` hospitals gone, some hospital has fewer than t holders left: at most
  n * P[Hypergeometric(n - 1, dropped, k) > k - t].
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
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
    """log2 of the bound on the chance that some set of survivors falls apart."""
    honest = members - colluding
    terms = []
    for size in range(1, honest // 2 + 1):
        marked = min(colluding + size - 1, members - 1)
        tail = sum(_ways(members - 1, marked, graph.degree)[graph.threshold :])
        if tail:
            chance = math.log2(tail) - math.log2(math.comb(members - 1, graph.degree))
            terms.append(math.log2(math.comb(honest, size)) + size * chance)
    return _log2_of_sum(terms)


@lru_cache(maxsize=256)
def recovery_bound(members: int, dropped: int, graph: Graph) -> float:
    """log2 of the bound on the chance that a hospital has too few holders left when ``dropped`` are gone."""
    lost = sum(_ways(members - 1, dropped, graph.degree)[graph.degree - graph.threshold + 1 :])
    if not lost:
        return -math.inf
    return math.log2(members * lost) - math.log2(math.comb(members - 1, graph.degree)) + _ROUNDING


def smallest_threshold_of(members: int, colluding: int, degree: int) -> int | None:
    """The smallest t that hides with ``degree`` neighbours; None if none does."""
    return next(
        (t for t in range(1, degree + 1) if hiding_bound(members, colluding, Graph(degree, t)) <= -SECURITY_BITS), None
    )


def smallest_graph(members: int, colluding: int, dropped: int) -> Graph | None:
    """The fewest neighbours that hide and recover, each but for 2^-40, and the largest t that recovers.

    Args:
        dropped: how many hospitals may be gone at once.

    Returns:
        None if no graph with fewer neighbours than everybody does.
    """
    for degree in range(2, members - 1):
        threshold = _largest_recovering(members, dropped, degree)
        if threshold and hiding_bound(members, colluding, Graph(degree, threshold)) <= -SECURITY_BITS:
            return Graph(degree, threshold)
    return None


def _largest_recovering(members: int, dropped: int, degree: int) -> int:
    """The largest t with which every hospital keeps t holders, but for 2^-40; 0 if there is none."""
    total = math.comb(members - 1, degree) >> SECURITY_BITS
    # lost[j] counts the draws with degree - j or more of the dropped among the holders: fewer than j + 1 left.
    lost = accumulate(reversed(_ways(members - 1, dropped, degree)))
    return sum(1 for ways in lost if members * ways <= total)


def _ways(population: int, marked: int, drawn: int) -> list[int]:
    """For each j: how many of the draws of ``drawn`` hold exactly j of the ``marked``. Exact."""
    return list(_count_ways(population, marked, drawn))


def _count_ways(population: int, marked: int, drawn: int) -> Iterator[int]:
    for hit in range(drawn + 1):
        missed = drawn - hit
        yield math.comb(marked, hit) * math.comb(population - marked, missed)


def _log2_of_sum(terms: list[float]) -> float:
    if not terms:
        return -math.inf
    largest = max(terms)
    return largest + math.log2(sum(2.0 ** (term - largest) for term in terms)) + _ROUNDING
