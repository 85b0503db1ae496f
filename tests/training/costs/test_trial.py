"""Real parties of any shape spend what is predicted in messages and bytes, and some time each."""

from __future__ import annotations

import pytest

from secagg.charter.thresholds import smallest_threshold
from secagg.masking.sizes import Shape, round_traffic, set_up_traffic
from training.costs import handling
from training.costs.handling import fitted_on, handling_of
from training.costs.rates import measured_rates
from training.costs.times import Handling, times_of
from training.costs.trial import PhaseCost, Trial


@pytest.mark.parametrize("scheme", ["mask", "double-lock", "bfv", "ckks"])
def test_a_trial_takes_the_bytes_that_are_predicted_and_all_parties_work(tmp_path, scheme):
    shape = Shape(7, smallest_threshold(7, 1), 1, 3001, 24, 2, None, scheme)
    with Trial(tmp_path, shape) as trial:
        set_up, *rounds = trial.set_up(), trial.round(), trial.round()
    assert set_up.traffic == set_up_traffic(shape)
    assert [spent.traffic for spent in rounds] == [round_traffic(shape)] * 2
    assert all(min(spent.hospital, spent.coordinator) > 0 for spent in (set_up, *rounds))


def test_what_handling_takes_makes_up_for_what_a_round_takes_more_than_its_operations(monkeypatch):
    """A consortium that takes a second longer than its operations: the model says so of the same consortium."""
    rates, shape = measured_rates(), fitted_on("mask")
    known = times_of(shape, rates, Handling())

    class Slow(Trial):
        def round(self) -> PhaseCost:
            return PhaseCost(known.hospital + 1, known.coordinator + 1, super().round().traffic)

    monkeypatch.setattr(handling, "Trial", Slow)
    handling_of.cache_clear()
    found = times_of(shape, rates, handling_of("mask", rates))
    handling_of.cache_clear()
    assert (found.hospital, found.coordinator) == pytest.approx((known.hospital + 1, known.coordinator + 1))


def test_a_machine_that_was_busier_while_it_was_measured_has_no_negative_handling(monkeypatch):
    class Quick(Trial):
        def round(self) -> PhaseCost:
            return PhaseCost(0, 0, super().round().traffic)

    monkeypatch.setattr(handling, "Trial", Quick)
    handling_of.cache_clear()
    assert handling_of("mask", measured_rates()) == Handling()
    handling_of.cache_clear()
