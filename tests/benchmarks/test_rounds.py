"""Whole rounds as a sweep measures them: real parties, right sums, and the bytes that the plan says."""

from __future__ import annotations

from collections import Counter
from functools import partial

import numpy as np
import pytest

from benchmarks.sweep import consortium, measuring
from benchmarks.sweep.case import Case
from benchmarks.sweep.measuring import measure
from benchmarks.sweep.spared import SparedClient
from benchmarks.sweep.updates import Updates
from secagg.errors import InputError, TamperingError
from secagg.homomorphic.parameters import fitting_parameters
from secagg.masking.sizes import Shape, round_traffic
from training.choices import USUAL_EPOCH_ROUNDS, USUAL_FIELD_BITS
from training.testbed.meter import Meter, Stopwatch

PARAMETERS = 500


@pytest.fixture(autouse=True)
def once(monkeypatch):
    """A round and a set-up, and not as many as there are seconds for."""
    monkeypatch.setattr(measuring, "_ROUND_SECONDS", 0.0)
    monkeypatch.setattr(measuring, "_SET_UP_SECONDS", 0.0)


def case(scheme: str = "mask", hospitals: int = 5, dropout: float = 0.2, **more: object) -> Case:
    return Case(scheme=scheme, hospitals=hospitals, parameters=PARAMETERS, dropout=dropout, **more)


def cost(measured, phase: str, party: str):
    (found,) = (one for one in measured.costs if (one.phase, one.party) == (phase, party))
    return found


@pytest.mark.parametrize(
    ("scheme", "error"),
    [("plain", 1e-6), ("mask", 1e-4), ("double-lock", 1e-4), ("bfv", 1e-4), ("ckks", 1e-4), ("nvflare", 1e-4)],
)
def test_every_scheme_gives_the_mean_of_those_who_did_not_drop(scheme, error):
    measured = measure(case(scheme), 1, "time")
    assert 0 < measured.error < error
    for party in ("hospital", "coordinator"):
        assert cost(measured, "round", party).cpu > 0
        assert cost(measured, "round", party).yardsticks > 0
    assert cost(measured, "round", "coordinator").messages_up >= 4


@pytest.mark.parametrize("scheme", ["mask", "double-lock", "bfv", "ckks"])
def test_a_round_passes_the_messages_and_bytes_that_a_plan_promises(scheme):
    one = case(scheme)
    shape = Shape(
        one.hospitals, one.threshold, one.dropped, PARAMETERS + 1, USUAL_FIELD_BITS, USUAL_EPOCH_ROUNDS, None, scheme,
        parameter_set=fitting_parameters(PARAMETERS, one.hospitals),
    )  # fmt: skip
    planned, found = round_traffic(shape), cost(measure(one, 1, "time"), "round", "hospital")
    assert (found.messages_up, found.messages_down) == (planned.messages_up, planned.messages_down)
    assert found.bytes_up == pytest.approx(planned.bytes_up, rel=0.01)
    assert found.bytes_down == pytest.approx(planned.bytes_down, rel=0.01)


@pytest.mark.parametrize("scheme", ["mask", "double-lock", "bfv", "ckks"])
def test_hospitals_that_leave_out_masks_which_cancel_give_the_same_sum(scheme, monkeypatch):
    monkeypatch.setattr(consortium, "_MOST_NUMBERS", 0)
    monkeypatch.setattr(consortium, "_REAL", 2)
    measured = measure(case(scheme, hospitals=7, dropout=0.3), 1, "time")
    assert measured.real_hospitals == 2
    assert measured.error < 1e-4
    hospital, coordinator = (cost(measured, "round", party) for party in ("hospital", "coordinator"))
    assert coordinator.messages_down == 5 * hospital.messages_down


def test_every_hospital_that_is_real_encodes_its_update_and_decodes_the_sum(tmp_path):
    entered = Counter()

    class Counting(Meter):
        def of(self, phase, party, holding=0):
            entered[phase, party] += 1
            return super().of(phase, party, holding)

    with consortium.Consortium(tmp_path, case(hospitals=20, dropout=0.1)) as swept:
        swept.set_up(Meter(Stopwatch()))
        swept.run_round(1, Counting(Stopwatch()))
        assert len(swept.real) == 18
        assert {entered["encoding", hospital] for hospital in swept.real} == {2}


def test_control_the_sum_is_wrong_where_one_leaves_out_a_mask_that_another_adds(tmp_path, monkeypatch):
    monkeypatch.setattr(consortium, "_MOST_NUMBERS", 0)
    monkeypatch.setattr(consortium, "_REAL", 2)
    with consortium.Consortium(tmp_path, case(hospitals=7)) as swept:
        swept.set_up(Meter(Stopwatch()))
        # Those who are spared leave out masks with everybody; those who are real do not.
        swept._clients[max(swept.survivors)].mask_spared = partial(without_any, swept, max(swept.survivors))
        with pytest.raises(TamperingError) as caught:
            swept.run_round(1, Meter(Stopwatch()))
    assert caught.value.reason == "forged-sum"


def without_any(swept, number, vectors, model, spared):
    return SparedClient.mask_spared(swept._clients[number], vectors, model, frozenset(swept.survivors))


def test_neighbours_and_differential_privacy_are_measured_too():
    sparse = measure(case("mask-graph", hospitals=12, dropout=0.0), 1, "time")
    complete = measure(case("mask", hospitals=12, dropout=0.0), 1, "time")
    assert sparse.error == complete.error < 1e-3
    assert cost(sparse, "set-up", "hospital").messages_up < cost(complete, "set-up", "hospital").messages_up
    # A tenth of ten may drop: noise for fewer is removed, by seeds that are shared at the set-up.
    private = measure(case(hospitals=10, dropout=0.1, dp="distributed"), 1, "time")
    plain = measure(case(hospitals=10, dropout=0.1), 1, "time")
    assert private.error is None
    assert (private.field_bits, measure(case("plain"), 1, "memory").field_bits) == (24, None)
    assert cost(private, "set-up", "hospital").bytes_up > cost(plain, "set-up", "hospital").bytes_up


def test_memory_is_at_least_what_a_party_was_given():
    measured = measure(case("plain"), 0, "memory")
    assert cost(measured, "encoding", "hospital").memory >= 8 * PARAMETERS
    assert cost(measured, "round", "coordinator").memory >= 4 * PARAMETERS
    assert cost(measured, "round", "hospital").cpu is None


def test_the_error_is_that_of_the_mean_and_of_no_other():
    updates = Updates(1000, 10.0)
    exact = (updates.of(1) + updates.of(3)) / 2
    assert updates.error(exact, [1, 3]) == 0
    assert updates.error(exact * 1.01, [1, 3]) == pytest.approx(0.01)
    assert updates.error(exact, [1, 2]) > 0.5
    assert np.linalg.norm(updates.of(1)) == pytest.approx(10.0)


def test_a_longer_update_repeats_itself_and_keeps_its_norm(monkeypatch):
    monkeypatch.setattr("benchmarks.sweep.updates._PERIOD", 100)
    updates = Updates(250, 10.0)
    np.testing.assert_array_equal(updates.of(1)[:100], updates.of(1)[100:200])
    assert np.linalg.norm(updates.of(1)) <= 10.0
    assert updates.error((updates.of(1) + updates.of(2)) / 2, [1, 2]) == pytest.approx(0, abs=1e-12)


def test_without_flower_its_case_says_how_to_have_it(monkeypatch, tmp_path):
    monkeypatch.setenv("SECAGG_FLOWER_PYTHON", str(tmp_path / "python"))
    with pytest.raises(InputError, match="Flower is not on this machine") as caught:
        measure(case("flower"), 1, "time")
    assert "make flower" in caught.value.remedy
