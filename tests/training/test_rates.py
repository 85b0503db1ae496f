"""Each operation takes some time on this machine, and blocks of every form can be measured."""

from __future__ import annotations

from dataclasses import astuple

import pytest

from secagg.encoding.ring import Ring
from secagg.homomorphic.form import approximate_form, exact_form
from secagg.homomorphic.parameters import ALLOWED, parameter_set
from training.rates import Rates, basis_time, cipher_rates, rebuilding_time, seconds, sharing_time


def test_every_operation_takes_some_time_and_every_stream_has_some_speed():
    rates = Rates.measured()
    assert all(0 < value < 1 for value in (rates.agreement, rates.signature, rates.verification, rates.digest))
    assert 0 < rates.record < 10
    assert min(rates.keystream, rates.hashing) > 1e6


@pytest.mark.parametrize("make", [exact_form, approximate_form])
@pytest.mark.parametrize("name", sorted(ALLOWED))
@pytest.mark.parametrize(("bits", "length"), [(16, 100_000), (24, 32), (33, 100_000), (64, 5)])
def test_blocks_of_every_form_are_measured(make, name, bits, length):
    rates = cipher_rates(make(parameter_set(name), Ring(bits), length, 40))
    assert all(0 < value < 10 for value in astuple(rates))


def test_sharing_and_rebuilding_take_longer_the_more_holders_there_are():
    assert 0 < sharing_time(3, 5) < sharing_time(300, 600)
    assert 0 < rebuilding_time(3) < rebuilding_time(300)
    assert 0 < basis_time(3) < basis_time(300)


def test_a_form_is_measured_once():
    form = exact_form(parameter_set("n4096-q60"), Ring(24), 77, 40)
    assert cipher_rates(form) is cipher_rates(form)


def test_the_fastest_run_counts():
    waits = iter([0.02, 0.0, 0.02])

    def operation():
        end = next(waits)
        for _ in range(int(end * 1e7)):
            pass

    assert seconds(operation, at_most=3) < 0.01
