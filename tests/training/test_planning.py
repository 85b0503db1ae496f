from __future__ import annotations

import math
import time

import pytest
from msgspec.structs import replace

from secagg.charter import Member, NeighbourGraph
from secagg.charter.state_size import model_snapshot, require_sealable
from secagg.errors import InputError
from secagg.graph import SECURITY_BITS, smallest_graph
from secagg.homomorphic.parameters import DEFAULT_PARAMETERS, fitting_parameters
from tests.support.consortium import make_charter, make_identities
from tests.support.hospitals import choices_of, tabular_spec
from training import planning
from training.costs import times
from training.draft import draft_charter
from training.dropout import chosen_graph, count_dropped
from training.planning import make_plans
from training.tasks.spec import ModelSpec

ALL = ("mask", "double-lock", "bfv", "ckks")


def masked(*arguments):
    """The plan with all, and the one with neighbours if there is one."""
    ways = make_plans(*arguments).ways
    return ways if len(ways) == 2 else (*ways, None)


def by_scheme(*arguments, **options):
    return {one.shape.scheme: one for one in make_plans(*arguments, schemes=ALL, **options).ways if not one.shape.graph}


# --- Masks ---------------------------------------------------------------------------------------------------


def test_above_a_hundred_hospitals_neighbours_are_chosen_and_below_all_mask_with_all():
    for members, expected in ((40, [True, False]), (101, [False, True])):
        complete, sparse = masked(members, 1000, 1, 0.1)
        assert [complete.chosen, sparse.chosen] == expected
    assert sparse.hiding <= -SECURITY_BITS
    assert sparse.recovery <= -SECURITY_BITS


def test_a_charter_takes_the_graph_that_the_plan_chooses():
    _, sparse = masked(120, 1000, 5, 0.1)
    assert sparse.chosen
    assert chosen_graph("mask", 120, 5, 0.1) == NeighbourGraph.of(sparse.shape.graph)
    assert chosen_graph("mask", 100, 5, 0.1) == NeighbourGraph()


@pytest.mark.parametrize(("members", "colluding"), [(3, 1), (4, 2), (150, 148)])
def test_a_consortium_whose_every_member_must_answer_has_a_plan(members, colluding):
    complete, _ = masked(members, 10, colluding, 0.0)
    assert complete.times.set_up > 0


def test_where_only_all_with_all_would_do_there_is_no_other_plan():
    assert masked(6, 1000, 2, 0.17)[1] is None


def test_neighbours_cost_a_hospital_less_in_a_large_consortium():
    complete, sparse = masked(400, 100_000, 20, 0.1)
    assert sparse.set_up.bytes_up < complete.set_up.bytes_up / 3
    assert sparse.times.set_up < complete.times.set_up
    assert all(math.isfinite(value) and value > 0 for value in (sparse.times.hospital, sparse.times.coordinator))


# --- Encryption ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("members", [3, 300])
def test_encrypted_schemes_have_one_plan_each_with_all_at_any_size(members):
    ways = make_plans(members, 1000, 1, 0.0, schemes=ALL[1:]).ways
    assert [(one.shape.scheme, one.shape.graph, one.chosen) for one in ways] == [
        (scheme, None, True) for scheme in ALL[1:]
    ]
    assert all((one.hiding, one.recovery) == (-math.inf, -math.inf) for one in ways)


def test_every_scheme_has_times_and_each_part_of_them_shows_where_it_is_done():
    """Three million numbers: what takes seconds is far from what takes milliseconds, however busy the machine is."""
    plans = by_scheme(40, 3_000_000, 1, 0.1)
    assert set(plans) == set(ALL)
    hospital = {scheme: one.times.hospital for scheme, one in plans.items()}
    coordinator = {scheme: one.times.coordinator for scheme, one in plans.items()}
    assert hospital["double-lock"] > hospital["bfv"] > hospital["mask"]
    assert min(coordinator["bfv"], coordinator["ckks"], coordinator["double-lock"]) > coordinator["mask"]


def test_under_double_lock_it_is_the_hospitals_who_take_the_masks_off(monkeypatch):
    monkeypatch.setattr(times, "rebuilding_time", lambda _: 1e6)
    monkeypatch.setattr(planning, "handling_of", lambda scheme, rates: times.Handling())
    plans = by_scheme(10, 1000, 1, 0.1)
    assert {scheme: one.times.hospital > 1e5 for scheme, one in plans.items()} == {
        "mask": False,
        "double-lock": True,
        "bfv": False,
        "ckks": False,
    }
    assert {scheme: one.times.coordinator > 1e5 for scheme, one in plans.items()} == {
        "mask": True,
        "double-lock": False,
        "bfv": False,
        "ckks": False,
    }


def test_encryption_is_measured_only_where_it_is_asked_for(monkeypatch):
    def fail(form):
        raise AssertionError("measured")

    monkeypatch.setattr(times, "cipher_times", fail)
    assert len(make_plans(40, 1000, 1, 0.1).ways) == 2
    with pytest.raises(AssertionError, match="measured"):
        make_plans(40, 1000, 1, 0.1, schemes=["bfv"])


@pytest.mark.parametrize(("width", "expected"), [(24_999, DEFAULT_PARAMETERS), (25_000, "n8192-q60")])
def test_a_charter_takes_the_parameters_that_the_plan_is_made_with(width, expected):
    """With 2 features a perceptron has 4 parameters for each hidden unit, and one."""
    spec = tabular_spec()
    spec = replace(spec, model=ModelSpec(name="mlp", hidden=(width,)))
    members = [Member(name=f"h{number}", public_key=bytes([number]) * 32) for number in range(1, 5)]
    charter = draft_charter(choices_of(scheme="bfv"), members, spec)
    assert charter.model.parameters == 4 * width + 1
    assert charter.homomorphic.parameters == fitting_parameters(charter.model.parameters, 4) == expected


def test_a_scheme_that_cannot_be_had_is_left_out_and_says_why():
    # Two numbers go into a coefficient of bfv, of one bit more than one of ckks.
    plans = make_plans(100, 400_000_000, 1, 0.1, bits=25, schemes=ALL)
    assert {one.shape.scheme for one in plans.ways} == {"mask", "double-lock", "bfv"}
    assert {scheme: why.reason for scheme, why in plans.left_out.items()} == {"ckks": "too-large"}


def test_a_model_that_no_hospital_could_hand_to_another_leaves_encrypted_schemes_out(monkeypatch):
    monkeypatch.setattr(planning, "times_of", lambda *arguments: times.Times(0, 0, 0, 0))
    # A sum would fit into a message.
    plans = make_plans(40, 545_000_000, 1, 0.1, schemes=("mask", "double-lock", "bfv"))
    assert {one.shape.scheme for one in plans.ways} == {"mask"}
    assert {scheme: why.reason for scheme, why in plans.left_out.items()} == {
        "double-lock": "snapshot-too-large",
        "bfv": "snapshot-too-large",
    }
    assert make_plans(40, 536_000_000, 1, 0.1, schemes=["double-lock"]).ways


@pytest.mark.parametrize(
    ("parameters", "refused"), [(107_374_182, []), (107_374_183, ["adam"]), (178_956_971, ["momentum", "adam"])]
)
def test_a_plan_names_the_optimizers_of_which_no_hospital_could_hand_on_the_moments(monkeypatch, parameters, refused):
    monkeypatch.setattr(planning, "times_of", lambda *arguments: times.Times(0, 0, 0, 0))
    for scheme, plan in by_scheme(40, parameters, 1, 0.1).items():
        assert list(plan.optimizers_refused) == ([] if scheme == "mask" else refused)
        for optimizer in plan.optimizers_refused:
            with pytest.raises(InputError, match="from another"):
                require_sealable(scheme, model_snapshot(parameters, plan.shape.bits, optimizer), optimizer)


def test_an_epoch_that_no_encrypted_charter_has_leaves_encrypted_schemes_out_and_says_why(monkeypatch):
    monkeypatch.setattr(planning, "times_of", lambda *arguments: times.Times(0, 0, 0, 0))
    for members, rounds in ((1000, 50), (1000, 11), (334, 30)):
        plans = make_plans(members, 10_000, 1, 0.1, rounds=rounds, schemes=ALL)
        assert {one.shape.scheme for one in plans.ways} == {"mask"}
        assert {why.reason for why in plans.left_out.values()} == {"secret-used-too-often"}
        assert set(plans.left_out) == set(ALL[1:])
        with pytest.raises(InputError) as caught:
            make_charter(make_identities(members), scheme="bfv", epoch_rounds=rounds)
        assert caught.value.message == plans.left_out["bfv"].message
    assert len(make_plans(1000, 10_000, 1, 0.1, rounds=10, schemes=ALL[1:]).ways) == 3


def test_a_machine_that_cannot_encrypt_has_plans_for_masks(monkeypatch):
    def lacking(form):
        raise InputError("no-anonymous-memory", "This system has no such files.")

    monkeypatch.setattr(times, "cipher_times", lacking)
    plans = make_plans(40, 1000, 1, 0.1, schemes=ALL)
    assert {one.shape.scheme for one in plans.ways} == {"mask"}
    assert set(plans.left_out) == set(ALL[1:])


def test_if_no_scheme_that_was_asked_for_can_be_had_the_reason_is_the_error():
    with pytest.raises(InputError) as caught:
        make_plans(40, 1 << 32, 1, 0.1, schemes=["ckks", "bfv"])
    assert caught.value.reason == "too-large"
    assert "ckks" in caught.value.message


# --- Refusals ------------------------------------------------------------------------------------------------


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
        make_plans(*arguments, schemes=ALL)
    assert caught.value.reason == reason


@pytest.mark.parametrize("dropout", [1.0, -0.1, math.nan])
def test_a_share_of_drop_outs_is_a_share(dropout):
    with pytest.raises(InputError) as caught:
        count_dropped(120, 1, dropout)
    assert caught.value.reason == "bad-dropout"


@pytest.mark.parametrize(("members", "colluding", "dropped"), [(1000, 1, 490), (1000, 300, 300), (1000, 1, 499)])
def test_even_the_most_awkward_consortium_is_planned_in_no_time(members, colluding, dropped):
    started = time.process_time()
    graph = smallest_graph(members, colluding, dropped)
    assert graph is None or graph.degree > 800
    # Not by the clock on the wall: much else may run on this machine.
    assert time.process_time() - started < 20
