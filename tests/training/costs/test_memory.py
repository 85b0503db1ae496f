"""The memory of a party is what the closed form says: counted while real parties are at work."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest

from secagg.charter import Model
from secagg.charter.thresholds import smallest_threshold
from secagg.masking.sizes import Shape
from secagg.masking.states import ServerState
from tests.support.consortium import MODEL_DIGEST, Consortium
from training.costs.memory import memory_of

PARAMETERS = 400_000
SHAPE = Shape(3, smallest_threshold(3, 1), 0, PARAMETERS + 1, 24, 1, None)


def peak_of(work: Callable[[], object]) -> int:
    """Bytes above what was held before."""
    tracemalloc.start()
    work()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def test_under_masks_it_is_a_vector_and_a_message_at_a_hospital_and_four_at_the_coordinator(tmp_path):
    model = Model(digest=MODEL_DIGEST, parameters=PARAMETERS)
    with Consortium.make(tmp_path, 3, model=model, epoch_rounds=1) as consortium:
        consortium.set_up()
        consortium.deliver(consortium.server.begin(1))
        vectors = consortium.random_vectors(np.random.default_rng(1))
        masked: list[tuple[int, bytes]] = []
        client = consortium.clients[1]
        made = peak_of(lambda: masked.append((1, client.mask(vectors[1], MODEL_DIGEST))))
        masked += [(number, consortium.clients[number].mask(vectors[number], MODEL_DIGEST)) for number in (2, 3)]
        reveals = consortium.deliver(consortium.answer(masked))
        # The running sum is there already.
        last = peak_of(lambda: consortium.answer(reveals))
        assert consortium.server.state is ServerState.READY
    elements, memory = vectors[1].nbytes, memory_of(SHAPE)
    assert elements + made == pytest.approx(memory.hospital, rel=0.15)
    assert elements + last == pytest.approx(memory.coordinator, rel=0.15)


def test_an_encrypted_sum_takes_the_same_whatever_the_number_of_hospitals():
    sizes = [memory_of(Shape(n, smallest_threshold(n, 1), 0, 10_001, 24, 1, None, "bfv")) for n in (5, 40)]
    assert sizes[0].coordinator == pytest.approx(sizes[1].coordinator, rel=0.01)
    assert min(sizes[0].hospital, sizes[0].coordinator) > 0
