"""A sum over the survivors is exact, whoever drops and whenever, and there is none below the threshold."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from secagg.charter import Encoding
from secagg.masking.states import ServerState
from tests.support.consortium import Consortium, integer_sum

MEMBERS = 6
THRESHOLD = 4


def check_sum(consortium: Consortium, vectors: dict, survivors: set[int]) -> None:
    expected = integer_sum(consortium, vectors, survivors)
    result = consortium.server.result
    assert result is not None
    assert set(result.survivors.numbers) == survivors
    ring = consortium.server.session.ring
    np.testing.assert_array_equal(ring.to_signed(result.vector), expected)
    for client in consortium.clients.values():
        taken = client.take_sum()
        if taken is not None:
            np.testing.assert_array_equal(ring.to_signed(taken.total.vector), expected)


def test_all_hospitals_give_the_exact_sum(tmp_path):
    consortium = Consortium.make(tmp_path, 5)
    vectors = consortium.random_vectors(np.random.default_rng(1))
    consortium.set_up()
    consortium.run_round(vectors)
    check_sum(consortium, vectors, {1, 2, 3, 4, 5})


@pytest.mark.parametrize("bits", [16, 20, 24, 31, 32, 33, 48, 64])
def test_every_field_width_gives_the_exact_sum(tmp_path, bits):
    consortium = Consortium.make(tmp_path, 4, encoding=Encoding(field_bits=bits))
    vectors = consortium.random_vectors(np.random.default_rng(bits))
    consortium.set_up()
    consortium.run_round(vectors, mask_silent={2})
    check_sum(consortium, vectors, {1, 3, 4})


subsets = st.sets(st.integers(1, MEMBERS))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(advertise=subsets, deal=subsets, mask=subsets, agree=subsets, reveal=subsets, seed=st.integers(0, 2**32 - 1))
def test_any_pattern_of_drop_outs_gives_the_exact_sum_or_none(
    tmp_path_factory, advertise, deal, mask, agree, reveal, seed
):
    consortium = Consortium.make(tmp_path_factory.mktemp("latches"), MEMBERS)
    vectors = consortium.random_vectors(np.random.default_rng(seed))
    everybody = set(range(1, MEMBERS + 1))
    consortium.set_up(advertise, deal)
    participants = everybody - advertise - deal
    if len(participants) < THRESHOLD:
        assert consortium.server.state is ServerState.CLOSED
        assert consortium.server.fault is not None
        return
    consortium.run_round(vectors, mask, reveal, agree)
    survivors = participants - mask
    agreed = survivors if survivors == participants else survivors - agree
    # A hospital that did not hear of the proposal still takes the unmask request, which carries t signatures.
    if min(len(survivors), len(agreed), len(survivors - reveal)) < THRESHOLD:
        assert consortium.server.result is None
        assert consortium.server.fault is not None
        return
    check_sum(consortium, vectors, survivors)


def test_a_hospital_that_dropped_out_is_back_in_the_next_round(tmp_path):
    consortium = Consortium.make(tmp_path, 5)
    generator = np.random.default_rng(3)
    consortium.set_up()
    for step, silent in enumerate([{2}, {1, 3} - {3}, set()], start=1):
        vectors = consortium.random_vectors(generator)
        consortium.run_round(vectors, mask_silent=silent, step=step)
        check_sum(consortium, vectors, {1, 2, 3, 4, 5} - silent)
    assert consortium.server.exhausted
