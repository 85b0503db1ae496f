"""Each operation takes some time on this machine, and vectors of every form can be measured."""

from __future__ import annotations

from dataclasses import astuple
from itertools import accumulate, chain
from types import SimpleNamespace

import pytest

from secagg.encoding.ring import Ring
from secagg.homomorphic.form import approximate_form, exact_form
from secagg.homomorphic.parameters import ALLOWED, parameter_set
from training.costs import stopwatch, vectors
from training.costs.ciphers import cipher_times
from training.costs.rates import Rates, basis_time, deal_times, measured_rates, rebuilding_time, sharing_time
from training.costs.vectors import ByteTimes, byte_times, vector_times


def test_every_operation_takes_some_time():
    rates = Rates.measured()
    assert all(0 < value < 1 for value in (rates.key, rates.expansion, rates.digest, rates.sealing, rates.opening))
    assert all(0 < value < 1 for value in (rates.reading, rates.verification, rates.survivor, rates.member))
    assert 0 < rates.record < 10
    assert min(rates.agreement, rates.sighting) >= 0


def test_a_machine_is_measured_once():
    assert measured_rates() is measured_rates()


@pytest.mark.parametrize("bits", [16, 22, 24, 33, 64])
@pytest.mark.parametrize("length", [2, 3000])
def test_vectors_of_every_width_are_measured(length, bits):
    times = vector_times(length, bits)
    assert min(astuple(times)) >= 0
    assert min(times.masking, times.tag, times.adding, times.unpacking, times.summing) > 0


def test_a_vector_that_is_too_long_to_measure_takes_as_many_times_as_long(monkeypatch):
    monkeypatch.setattr(vectors, "seconds", lambda *operations: [float(2**at) for at, _ in enumerate(operations)])
    # Neither from what was measured before nor for whoever asks later.
    measured, longer = (vector_times.__wrapped__(length, 24) for length in (1 << 19, 1 << 22))
    assert min(astuple(measured)) > 0
    assert astuple(longer) == tuple(8 * value for value in astuple(measured))
    assert byte_times.__wrapped__(1 << 21) == ByteTimes(1.0, 2.0)
    assert byte_times.__wrapped__(1 << 32) == ByteTimes(2048.0, 4096.0)


@pytest.mark.parametrize("make", [exact_form, approximate_form])
@pytest.mark.parametrize("name", sorted(ALLOWED))
@pytest.mark.parametrize(("bits", "length"), [(24, 32), (33, 100_000), (64, 5)])
def test_blocks_of_every_form_are_measured(make, name, bits, length):
    times = cipher_times(make(parameter_set(name), Ring(bits), length, 40))
    assert all(0 < value < 10 for value in astuple(times))


def test_sharing_and_rebuilding_take_longer_the_more_holders_there_are():
    assert 0 < sharing_time(3, 5) < sharing_time(300, 600)
    assert 0 < rebuilding_time(3) < rebuilding_time(300)
    assert 0 < basis_time(3) < basis_time(300)


def test_a_deal_of_many_secrets_takes_longer_than_one_of_none():
    none, many = deal_times(0), deal_times(200)
    assert 0 < none.sealed < many.sealed
    assert 0 < none.opened < many.opened


@pytest.fixture
def readings(monkeypatch):
    """Sets the CPU time that each call takes, in 1,024ths of a second, one after the other."""

    def script(*taken):
        ends = accumulate(taken)
        clock = chain.from_iterable((end - own, end) for end, own in zip(ends, taken, strict=True))
        monkeypatch.setattr(stopwatch, "time", SimpleNamespace(process_time=lambda: next(clock) / 1024))
        return clock

    return script


def test_the_median_run_counts_after_one_to_warm_up(readings):
    left = readings(64, 8, 32, 16)
    assert stopwatch.seconds(lambda: None, turns=3) == [16 / 1024]
    assert list(left) == []


def test_operations_take_turns_and_each_has_a_median_of_its_own(readings):
    readings(30, 1, 4, 10, 2, 20, 3, 30)
    assert stopwatch.seconds(lambda: None, lambda: None, turns=3) == [3 / 1024, 20 / 1024]


def test_what_takes_long_is_measured_once(readings):
    left = readings(200, 100, 1)
    assert stopwatch.seconds(lambda: None, turns=9) == [100 / 1024]
    assert len(list(left)) == 2
