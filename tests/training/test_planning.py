from __future__ import annotations

import math

import pytest

from secagg.errors import InputError
from secagg.graph import SECURITY_BITS, smallest_graph
from training.dropout import chosen_graph, count_dropped
from training.planning import make_plans


def test_above_a_hundred_hospitals_neighbours_are_chosen_and_below_all_mask_with_all():
    small, large = make_plans(40, 1000, 1, 0.1), make_plans(101, 1000, 1, 0.1)
    assert small.chosen is small.complete
    assert large.chosen is large.sparse
    assert large.sparse.hiding <= -SECURITY_BITS
    assert large.sparse.recovery <= -SECURITY_BITS


def test_a_charter_takes_the_graph_that_the_plan_chooses():
    plan = make_plans(120, 1000, 5, 0.1)
    assert chosen_graph(120, 5, count_dropped(120, 5, 0.1)) == plan.chosen.shape.graph
    assert chosen_graph(100, 5, count_dropped(100, 5, 0.1)) is None


@pytest.mark.parametrize(("members", "colluding"), [(3, 1), (4, 2), (150, 148)])
def test_a_consortium_whose_every_member_must_answer_has_a_plan(members, colluding):
    assert make_plans(members, 10, colluding, 0.0).complete.times.set_up > 0


def test_where_only_all_with_all_would_do_there_is_no_other_plan():
    assert make_plans(6, 1000, 2, 0.17).sparse is None


def test_neighbours_cost_a_hospital_less_in_a_large_consortium():
    plans = make_plans(400, 100_000, 20, 0.1)
    assert plans.sparse.set_up.bytes_up < plans.complete.set_up.bytes_up / 3
    assert plans.sparse.times.set_up < plans.complete.times.set_up
    assert all(
        math.isfinite(value) and value > 0 for value in (plans.sparse.times.hospital, plans.sparse.times.coordinator)
    )


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ((2, 10, 0, 0.0), "too-few-members"),
        ((5, 10, 4, 0.0), "too-many-colluding"),
        ((40, 10, 1, 0.9), "too-many-dropped"),
    ],
)
def test_what_no_consortium_could_bear_is_refused(arguments, reason):
    with pytest.raises(InputError) as caught:
        make_plans(*arguments)
    assert caught.value.reason == reason


@pytest.mark.parametrize("dropout", [1.0, -0.1, math.nan])
def test_a_share_of_drop_outs_is_a_share(dropout):
    with pytest.raises(InputError) as caught:
        count_dropped(120, 1, dropout)
    assert caught.value.reason == "bad-dropout"


@pytest.mark.timeout(20)
@pytest.mark.parametrize(("members", "colluding", "dropped"), [(1000, 1, 490), (1000, 300, 300), (1000, 1, 499)])
def test_even_the_most_awkward_consortium_is_planned_in_no_time(members, colluding, dropped):
    graph = smallest_graph(members, colluding, dropped)
    assert graph is None or graph.degree > 800
