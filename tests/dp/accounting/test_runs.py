"""Several runs: a patient pays for one group of each, and the dearest way counts."""

from __future__ import annotations

import math

import pytest

from dp.accounting import epsilon, epsilon_of_runs, epsilon_of_runs_pld, epsilon_rdp
from dp.events import GaussianEvent, IntegerEvent
from secagg.errors import InputError

DELTA = 1e-5
TRAINING = (GaussianEvent(1.5, 0.1, 100),)
METRICS = (GaussianEvent(20.0, 1.0, 50),)
INTEGER = (
    IntegerEvent(
        noise="skellam", variance=1e6, l1=30_000, l2=700, dimension=9000, shares=5, sampling_rate=0.1, steps=100
    ),
)


def test_one_run_costs_the_dearer_group_by_both():
    assert epsilon_of_runs([(TRAINING, METRICS)], DELTA) >= epsilon_rdp(TRAINING, DELTA)
    assert epsilon_of_runs_pld([(TRAINING, METRICS)], DELTA) == epsilon(TRAINING, DELTA).pld


def test_runs_in_which_a_patient_changes_groups_cost_the_dearest_way():
    runs = [(TRAINING, METRICS), (METRICS, TRAINING), (TRAINING, ())]
    dearest = epsilon_of_runs_pld(runs, DELTA)
    assert dearest == epsilon((*TRAINING, *TRAINING, *TRAINING), DELTA).pld
    assert dearest <= epsilon_of_runs(runs, DELTA)


def test_of_two_groups_neither_of_which_is_always_dearer_both_ways_are_tried():
    few_dear, many_cheap = (GaussianEvent(1.0, 0.01, 20),), (GaussianEvent(30.0, 1.0, 100),)
    ways = [(*few_dear, *few_dear), (*few_dear, *many_cheap), (*many_cheap, *many_cheap)]
    expected = max(epsilon(way, DELTA).pld for way in ways)
    assert epsilon_of_runs_pld([(few_dear, many_cheap)] * 2, DELTA) == expected


@pytest.mark.parametrize("runs", [[], [((), ())], [((), ()), ((), ())]])
def test_runs_that_release_nothing_cost_nothing(runs):
    assert epsilon_of_runs(runs, DELTA) == epsilon_of_runs_pld(runs, DELTA) == 0


def test_integer_noise_composes_by_renyi_divergences_only():
    runs = [(INTEGER, METRICS), (TRAINING, METRICS)]
    assert epsilon_of_runs_pld(runs, DELTA) is None
    apart = epsilon_rdp(INTEGER, DELTA), epsilon_rdp(TRAINING, DELTA)
    assert max(apart) < epsilon_of_runs(runs, DELTA) < sum(apart)
    assert epsilon_of_runs([(INTEGER, ())], DELTA) == epsilon_rdp(INTEGER, DELTA)


def test_where_there_are_too_many_ways_to_try_only_the_enforced_bound_is_given():
    runs = [((GaussianEvent(3.0 + number, 0.1, 10),), (GaussianEvent(30.0, 1.0, 1 + number),)) for number in range(5)]
    assert epsilon_of_runs_pld(runs, DELTA) is None
    assert epsilon_of_runs(runs, DELTA) < math.inf


def test_a_delta_that_is_no_probability_is_refused():
    for call in (epsilon_of_runs, epsilon_of_runs_pld):
        with pytest.raises(InputError) as caught:
            call([], 0.0)
        assert caught.value.reason == "bad-delta"
