"""How many values, blocks and bytes a vector takes: what is announced is what is made, and no more than promised."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secagg.encoding.ring import Ring
from secagg.homomorphic.coefficients import Packing, Splitting
from secagg.homomorphic.form import EncryptedForm, approximate_form, exact_form
from secagg.homomorphic.parameters import (
    ALLOWED,
    Encryption,
    approximate_plain_bits,
    encryption_noise_bound,
    exact_plain_bits,
)
from tests.support.ciphers import SMALL

parameter_sets = st.sampled_from(list(ALLOWED.values()))
rings = st.integers(16, 64).map(Ring)
lengths = st.integers(1, 50_000)
hospitals = st.integers(3, 1000)
WIDEST = {
    exact_form: (Encryption.BFV, exact_plain_bits),
    approximate_form: (Encryption.CKKS, approximate_plain_bits),
}
makers = st.sampled_from([*WIDEST])


@settings(deadline=None)
@given(make=makers, parameters=parameter_sets, ring=rings, length=lengths, contributors=hospitals)
def test_blocks_hold_all_packed_elements_once_and_in_order(make, parameters, ring, length, contributors):
    form = make(parameters, ring, length, contributors)
    packed = np.arange(form.packed_count, dtype=np.uint64).astype(form.codec.packed_ring.dtype)
    parts = [packed[form.elements_of((block, 1))] for block in range(form.blocks)]
    np.testing.assert_array_equal(np.concatenate(parts), packed)
    for part in parts:
        assert len(form.codec.values(part)) <= form.spec.block
    assert all(len(form.codec.values(part)) == form.spec.block for part in parts[:-1])


@settings(deadline=None)
@given(make=makers, parameters=parameter_sets, ring=rings, length=lengths, contributors=hospitals)
def test_sizes_are_those_of_the_blocks(make, parameters, ring, length, contributors):
    form = make(parameters, ring, length, contributors)
    residues = parameters.degree * 60 // 8
    assert form.fresh_size == form.blocks * (64 + residues)
    assert form.sum_size == form.blocks * 2 * residues
    assert (form.blocks - 1) * parameters.degree < form.value_count <= form.blocks * parameters.degree


@settings(deadline=None)
@given(make=makers, parameters=parameter_sets, ring=rings, length=st.integers(1, 1 << 32), contributors=hospitals)
def test_the_noise_bound_counts_every_coefficient_that_is_sent(make, parameters, ring, length, contributors):
    form = make(parameters, ring, length, contributors)
    encryption, widest = WIDEST[make]
    assert form.spec.encryption is encryption
    assert form.spec.bits == form.codec.plain_bits
    assert form.spec.bits <= widest(parameters, contributors, form.blocks * parameters.degree)


@pytest.mark.parametrize("contributors", [3, 4, 10, 11, 99, 100, 101, 255, 256, 999, 1000])
@pytest.mark.parametrize("parameters", ALLOWED.values(), ids=lambda entry: entry.name)
def test_under_ckks_as_many_elements_go_into_a_coefficient_as_trying_all_scales_finds(parameters, contributors):
    """Also the largest and the least sum that there can be, scaled and with noise at its bound, is within q / 2."""
    for bits in range(16, 65):
        form = approximate_form(parameters, Ring(bits), 1_000_000, contributors)
        codec, noise = form.codec, encryption_noise_bound(contributors, 2_000_000 + parameters.degree)
        counts = [count for scale in range(1, 60) if noise < 1 << (scale - 1) for count in [(59 - scale) // bits]]
        if isinstance(codec, Packing):
            assert codec.per_coefficient == max(counts)
            assert form.spec.scale_bits == 59 - max(counts) * bits
            least = -sum(1 << (bits - 1 + bits * place) for place in range(codec.per_coefficient))
            extremes = [-least, least]
        else:
            assert max(counts) == 0
            assert form.spec.scale_bits == 59 - 32 - contributors.bit_length()
            extremes = [0, contributors * ((1 << 32) - 1)]
        assert noise < 1 << (form.spec.scale_bits - 1)
        for extreme in extremes:
            assert 2 * (abs(extreme << form.spec.scale_bits) + noise) < parameters.modulus


@pytest.mark.parametrize(
    ("bits", "contributors", "kind", "per_value"),
    [
        (16, 100, Packing, 3),
        (16, 1000, Packing, 3),
        (23, 100, Packing, 2),
        (24, 1000, Packing, 2),
        (25, 100, Packing, 2),
        (25, 1000, Packing, 1),
        (50, 100, Packing, 1),
        (50, 1000, Splitting, 0.5),
        (64, 1000, Splitting, 0.5),
    ],
)
def test_as_many_elements_go_into_a_coefficient_as_the_noise_leaves_room_for(bits, contributors, kind, per_value):
    form = exact_form(SMALL, Ring(bits), 12_288, contributors)
    assert isinstance(form.codec, kind)
    assert form.length / form.value_count == per_value


@pytest.mark.parametrize("make", WIDEST)
def test_a_million_parameters_take_as_many_bytes_as_were_promised(make):
    """Two fields of 24 bits to a coefficient of 60 bits."""
    form: EncryptedForm = make(SMALL, Ring(24), 1_000_000, 100)
    assert form.fresh_size / form.length < 3.79
    assert form.sum_size / form.length < 7.56


def test_the_same_form_is_worked_out_once():
    assert exact_form(SMALL, Ring(24), 1000, 5) is exact_form(SMALL, Ring(24), 1000, 5)
