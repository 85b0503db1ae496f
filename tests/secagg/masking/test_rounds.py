"""A sum over the survivors is exact, whoever drops and whenever, and there is none below the threshold."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from secagg.charter import Encoding, Model, Statistics
from secagg.charter.sections import Homomorphic
from secagg.homomorphic.parameters import ALLOWED
from secagg.masking import MaskingServer, Purpose
from secagg.masking.session import RoundSum
from secagg.masking.states import ServerState
from tests.support.consortium import MODEL_DIGEST, Consortium, integer_sum

MEMBERS = 6
THRESHOLD = 4
SCHEMES = ("mask", "bfv", "ckks", "double-lock")
schemes = pytest.mark.parametrize("scheme", SCHEMES)


def check_sum(consortium: Consortium, vectors: dict, survivors: set[int]) -> None:
    """Everybody who takes part has the sum; the coordinator too, where it is not encrypted."""
    expected = integer_sum(consortium, vectors, survivors)
    server = consortium.server
    result = server.result
    assert result is not None
    assert set(result.survivors.numbers) == survivors
    ring = server.session.ring
    assert isinstance(result, RoundSum) is not server.session.encrypted
    if isinstance(result, RoundSum):
        np.testing.assert_array_equal(ring.to_signed(result.vector), expected)
    for number in server.participants:
        taken = consortium.clients[number].take_sum()
        assert taken is not None
        assert set(taken.total.survivors.numbers) == survivors
        np.testing.assert_array_equal(ring.to_signed(taken.total.vector), expected)


@schemes
def test_all_hospitals_give_the_exact_sum(tmp_path, scheme):
    consortium = Consortium.make(tmp_path, 5, scheme=scheme)
    vectors = consortium.random_vectors(np.random.default_rng(1))
    consortium.set_up()
    consortium.run_round(vectors)
    check_sum(consortium, vectors, {1, 2, 3, 4, 5})


@schemes
@pytest.mark.parametrize("bits", [16, 20, 24, 31, 32, 33, 48, 50, 51, 64])
def test_every_field_width_gives_the_exact_sum(tmp_path, bits, scheme):
    consortium = Consortium.make(tmp_path, 4, scheme=scheme, encoding=Encoding(field_bits=bits))
    vectors = consortium.random_vectors(np.random.default_rng(bits))
    consortium.set_up()
    consortium.run_round(vectors, mask_silent={2})
    check_sum(consortium, vectors, {1, 3, 4})


subsets = st.sets(st.integers(1, MEMBERS))
patterns = dict.fromkeys(("advertise", "deal", "mask", "agree", "reveal"), subsets)
quietly = {"deadline": None, "suppress_health_check": [HealthCheck.function_scoped_fixture]}


@settings(max_examples=100, **quietly)
@given(seed=st.integers(0, 2**32 - 1), **patterns)
def test_any_pattern_of_drop_outs_gives_the_exact_sum_or_none(tmp_path_factory, seed, **silent):
    run_with_drop_outs(tmp_path_factory.mktemp("latches"), "mask", seed, **silent)


@pytest.mark.parametrize("scheme", SCHEMES[1:])
@settings(max_examples=40, **quietly)
@given(seed=st.integers(0, 2**32 - 1), **patterns)
def test_any_pattern_of_drop_outs_gives_the_exact_encrypted_sum_or_none(tmp_path_factory, scheme, seed, **silent):
    run_with_drop_outs(tmp_path_factory.mktemp("latches"), scheme, seed, **silent)


def run_with_drop_outs(
    folder: Path,
    scheme: str,
    seed: int,
    *,
    advertise: set[int],
    deal: set[int],
    mask: set[int],
    agree: set,
    reveal: set,
) -> None:
    consortium = Consortium.make(folder, MEMBERS, scheme=scheme)
    vectors = consortium.random_vectors(np.random.default_rng(seed))
    consortium.set_up(advertise, deal)
    participants = set(range(1, MEMBERS + 1)) - advertise - deal
    if len(participants) < THRESHOLD:
        assert consortium.server.state is ServerState.CLOSED
        assert consortium.server.fault is not None
        return
    consortium.run_round(vectors, mask, reveal, agree)
    survivors = participants - mask
    agreed = survivors if survivors == participants else survivors - agree
    # A hospital that did not hear of the proposal still takes the unmask request, which carries t signatures. Where
    # nothing is masked, those who sent a vector are all that it takes.
    needed = [survivors, agreed, survivors - reveal] if consortium.server.session.masked else [survivors]
    if min(map(len, needed)) < THRESHOLD:
        assert consortium.server.result is None
        assert consortium.server.fault is not None
        return
    check_sum(consortium, vectors, survivors)


@schemes
def test_a_hospital_that_dropped_out_is_back_in_the_next_round(tmp_path, scheme):
    consortium = Consortium.make(tmp_path, 5, scheme=scheme)
    generator, server = np.random.default_rng(3), consortium.server
    consortium.set_up()
    for step, silent in enumerate([{2}, {1}, set()], start=1):
        vectors, model = consortium.random_vectors(generator), bytes([step]) * 32
        consortium.deliver(server.begin(step))
        masking = [(number, client) for number, client in consortium.clients.items() if number not in silent]
        outbox = consortium.answer([(number, client.mask(vectors[number], model)) for number, client in masking])
        while server.result is None:
            outbox = consortium.answer(consortium.deliver(outbox))
        consortium.deliver(outbox)
        check_sum(consortium, vectors, {1, 2, 3, 4, 5} - silent)
    assert server.exhausted


@schemes
def test_vectors_of_several_ciphertexts_give_the_exact_sum(tmp_path, scheme):
    """Not a multiple of anything: neither of a block nor of the elements in a coefficient."""
    consortium = Consortium.make(tmp_path, 4, scheme=scheme, model=Model(digest=MODEL_DIGEST, parameters=20_000))
    vectors = consortium.random_vectors(np.random.default_rng(5))
    consortium.set_up()
    consortium.run_round(vectors, mask_silent={4})
    check_sum(consortium, vectors, {1, 2, 3})


@schemes
@pytest.mark.parametrize("parameters", sorted(ALLOWED))
def test_sums_of_statistics_are_exact_under_every_parameter_set(tmp_path, scheme, parameters):
    chosen = {"homomorphic": Homomorphic(parameters=parameters), "statistics": Statistics(features=7)}
    consortium = Consortium.make(tmp_path, 4, scheme=scheme, **chosen)
    consortium.server = MaskingServer(replace(consortium.server.session, purpose=Purpose.STATISTICS))
    vectors = consortium.random_vectors(np.random.default_rng(6))
    consortium.set_up()
    consortium.run_round(vectors)
    check_sum(consortium, vectors, {1, 2, 3, 4})
