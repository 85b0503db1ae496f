import math
from fractions import Fraction
from itertools import combinations

import numpy as np
import pytest

from secagg.graph import (
    SECURITY_BITS,
    Graph,
    hiding_bound,
    recovery_bound,
    smallest_graph,
    smallest_threshold_of,
)


def tail_by_enumeration(population: int, marked: int, drawn: int, at_least: int) -> Fraction:
    """Of all draws, how many hold at least so many marked: counted one by one."""
    draws = list(combinations(range(population), drawn))
    return Fraction(sum(sum(one < marked for one in draw) >= at_least for draw in draws), len(draws))


@pytest.mark.parametrize(("members", "colluding", "graph"), [(9, 2, Graph(4, 3)), (11, 0, Graph(5, 3))])
def test_the_hiding_bound_is_the_sum_over_all_groups_of_enumerated_tails(members, colluding, graph):
    honest = members - colluding
    total = Fraction(0)
    for size in range(1, honest // 2 + 1):
        tail = tail_by_enumeration(members - 1, colluding + size - 1, graph.degree, graph.threshold)
        total += math.comb(honest, size) * tail**size
    assert hiding_bound(members, colluding, graph) == pytest.approx(math.log2(total), abs=1e-5)
    assert hiding_bound(members, colluding, graph) >= math.log2(total)


@pytest.mark.parametrize(("members", "dropped", "graph"), [(9, 3, Graph(4, 2)), (12, 4, Graph(5, 3))])
def test_the_recovery_bound_is_the_enumerated_tail_for_each_hospital(members, dropped, graph):
    tail = tail_by_enumeration(members - 1, dropped, graph.degree, graph.degree - graph.threshold + 1)
    assert recovery_bound(members, dropped, graph) == pytest.approx(math.log2(members * tail), abs=1e-5)


def falls_apart(holders: list[frozenset[int]], honest: range, corrupt: set[int], threshold: int) -> bool:
    """Whether some group of at most half of the honest hospitals needs nobody outside but colluders."""
    return any(
        all(len(holders[one] & (set(group) | corrupt)) >= threshold for one in group)
        for size in range(1, len(honest) // 2 + 1)
        for group in combinations(honest, size)
    )


@pytest.mark.parametrize("graph", [Graph(2, 2), Graph(4, 3), Graph(6, 4)])
def test_drawn_graphs_fall_apart_no_more_often_than_the_bound_says(graph):
    """Small consortia, where every group can be tried, and failures are frequent enough to be counted."""
    members, colluding, draws = 9, 1, 400
    generator = np.random.default_rng(graph.degree)
    honest, corrupt = range(members - colluding), set(range(members - colluding, members))
    failures = 0
    for _ in range(draws):
        holders = [
            frozenset(generator.choice([m for m in range(members) if m != one], graph.degree, replace=False).tolist())
            for one in range(members)
        ]
        failures += falls_apart(holders, honest, corrupt, graph.threshold)
    bound = 2 ** hiding_bound(members, colluding, graph)
    assert 0 < failures / draws <= bound + 3 * math.sqrt(bound / draws)


@pytest.mark.parametrize(
    ("members", "colluding", "dropped"), [(40, 1, 4), (101, 5, 10), (200, 20, 20), (1000, 50, 100), (1000, 333, 50)]
)
def test_the_smallest_graph_hides_and_recovers_and_no_smaller_one_does(members, colluding, dropped):
    graph = smallest_graph(members, colluding, dropped)
    assert hiding_bound(members, colluding, graph) <= -SECURITY_BITS
    assert recovery_bound(members, dropped, graph) <= -SECURITY_BITS
    assert recovery_bound(members, dropped, Graph(graph.degree, graph.threshold + 1)) > -SECURITY_BITS
    fewer = graph.degree - 1
    assert not any(
        hiding_bound(members, colluding, Graph(fewer, t)) <= -SECURITY_BITS
        and recovery_bound(members, dropped, Graph(fewer, t)) <= -SECURITY_BITS
        for t in range(1, fewer + 1)
    )


def test_neighbours_grow_far_more_slowly_than_the_consortium():
    degrees = [smallest_graph(members, members // 10, members // 10).degree for members in (100, 200, 500, 1000)]
    assert degrees == sorted(degrees)
    assert degrees[-1] < 100


def test_more_colluders_or_drop_outs_take_more_neighbours():
    assert smallest_graph(300, 60, 30).degree >= smallest_graph(300, 10, 30).degree
    assert smallest_graph(300, 10, 60).degree > smallest_graph(300, 10, 30).degree


def test_no_graph_is_found_where_only_a_complete_one_would_do():
    assert smallest_graph(6, 2, 2) is None


def test_the_smallest_threshold_hides_and_one_below_does_not():
    threshold = smallest_threshold_of(200, 20, 52)
    assert hiding_bound(200, 20, Graph(52, threshold)) <= -SECURITY_BITS
    assert hiding_bound(200, 20, Graph(52, threshold - 1)) > -SECURITY_BITS
    assert smallest_threshold_of(200, 20, 5) is None
