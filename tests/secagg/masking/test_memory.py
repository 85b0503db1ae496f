"""What is held at once: vectors are streamed, so that nobody makes a whole copy more than is due.

Memory is counted in vectors, which is what the ring elements of one update take. What is traced is what Python and
numpy allocate; the memory that workers share is bounded besides.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import pytest

from secagg.charter import Encoding, Model
from secagg.encoding import Layout, Ring, Section, packed_size
from secagg.masking.expansion import over_processes
from secagg.masking.keystream import SignedKey, add_masks, in_one_process, pack_masked
from secagg.processes import team
from secagg.processes.job import SLOTS
from secagg.processes.worker import SLOT_BYTES
from tests.support.consortium import MODEL_DIGEST, Consortium

LENGTH = 1_000_000
# A few chunks of 64 Ki elements, and what else a message needs: it does not grow with the vector.
CHUNKS = 0.4
KEYS = [SignedKey(bytes([number]) * 32, 1) for number in range(1, 20)]


@dataclass
class Traced:
    peak: int = 0
    kept: int = 0


@contextmanager
def traced() -> Iterator[Traced]:
    """What the block allocates beyond what there was: at most, and in the end."""
    found = Traced()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    try:
        yield found
        kept, peak = tracemalloc.get_traced_memory()
        found.peak, found.kept = peak - before, kept - before
    finally:
        tracemalloc.stop()


def consortium_with(folder, bits: int) -> tuple[Consortium, dict[int, np.ndarray]]:
    model = Model(digest=MODEL_DIGEST, parameters=LENGTH)
    consortium = Consortium.make(folder, 4, model=model, encoding=Encoding(field_bits=bits))
    consortium.set_up()
    return consortium, consortium.random_vectors(np.random.default_rng(1))


@pytest.mark.parametrize("expand", [in_one_process, over_processes])
@pytest.mark.parametrize("bits", [16, 20, 24, 32, 48])
def test_masking_holds_the_vector_and_the_packed_result_and_nothing_like_a_copy_more(bits, expand, monkeypatch):
    monkeypatch.setattr(team, "SPARE", team.Spare())
    monkeypatch.setattr(team, "usable_cores", lambda: 2)
    ring = Ring(bits)
    vector = ring.zeros(LENGTH)
    with traced() as memory:
        packed = memoryview(bytearray(packed_size(LENGTH, bits)))
        pack_masked(vector, ring, KEYS, [0], 8, packed, expand)
    team.SPARE.end()
    # For odd widths the bits of a chunk are spread out, 8 bytes each.
    spread = 64 * (1 << 16) * 2 / vector.nbytes if bits % 8 else 0
    assert memory.peak < len(packed) + (CHUNKS + spread) * vector.nbytes
    # With the vector itself two copies: a packed element is never longer than an element.
    assert len(packed) <= vector.nbytes


def test_control_a_whole_masked_copy_is_noticed():
    ring = Ring(24)
    vector = ring.zeros(LENGTH)
    with traced() as memory:
        copy = vector.copy()
        add_masks(copy, KEYS)
        packed = memoryview(bytearray(packed_size(LENGTH, 24)))
        pack_masked(copy, ring, [], [0], 8, packed)
    assert memory.peak > len(packed) + CHUNKS * vector.nbytes


@pytest.mark.parametrize("bits", [16, 24, 32])
def test_a_hospital_holds_its_vector_and_the_message_it_sends(tmp_path, bits):
    consortium, vectors = consortium_with(tmp_path, bits)
    consortium.deliver(consortium.server.begin(1))
    with traced() as memory:
        message = consortium.clients[1].mask(vectors[1], MODEL_DIGEST)
    assert memory.peak < len(message) + CHUNKS * vectors[1].nbytes


@pytest.mark.parametrize("bits", [16, 24, 32])
def test_a_coordinator_holds_one_accumulator_and_the_message_that_came(tmp_path, bits):
    consortium, vectors = consortium_with(tmp_path, bits)
    server = consortium.server
    consortium.deliver(server.begin(1))
    one = vectors[1].nbytes
    for number, client in consortium.clients.items():
        message = client.mask(vectors[number], MODEL_DIGEST)
        with traced() as memory:
            server.receive(number, message)
        accumulator = one if number == 1 else 0
        assert memory.peak < accumulator + CHUNKS * one
        assert memory.kept < accumulator + 0.01 * one


def test_taking_the_masks_off_makes_no_copy_but_the_message(tmp_path):
    consortium, vectors = consortium_with(tmp_path, 24)
    server = consortium.server
    consortium.deliver(server.begin(1))
    masked = [(number, client.mask(vectors[number], MODEL_DIGEST)) for number, client in consortium.clients.items()]
    *early, (last, message) = consortium.deliver(consortium.answer(masked))[: server.session.threshold]
    for number, reply in early:
        server.receive(number, reply)
    with traced() as memory:
        outbox = server.receive(last, message)
    assert server.result is not None
    # The sum itself is the accumulator. msgspec asks for up to half more than it fills, here and in what it seals.
    assert memory.kept < 1.5 * len(outbox[0][1]) + 0.1 * vectors[1].nbytes
    assert memory.peak < 4 * len(outbox[0][1]) + CHUNKS * vectors[1].nbytes


@pytest.mark.parametrize("processes", [1, 2])
def test_adding_masks_in_place_holds_a_few_pieces_however_long_the_vector(processes, monkeypatch):
    monkeypatch.setattr(team, "SPARE", team.Spare())
    monkeypatch.setattr(team, "usable_cores", lambda: processes)
    vector = Ring(24).zeros(4 * LENGTH)
    with traced() as memory:
        add_masks(vector, KEYS, expand=over_processes)
    team.SPARE.end()
    assert memory.peak < 2 * 1024 * 1024
    assert SLOTS * SLOT_BYTES <= 1024 * 1024


def test_encoding_holds_the_numbers_and_the_ring_elements_and_decoding_the_same():
    layout = Layout(Ring(24), 50, (Section("update", LENGTH, 1.0),))
    values = np.random.default_rng(1).uniform(-1, 1, LENGTH).astype(np.float32)
    with traced() as memory:
        elements = layout.encode([values])
    assert memory.peak < (1 + 2 * CHUNKS) * elements.nbytes
    with traced() as memory:
        (decoded,) = layout.decode(elements)
    assert memory.peak < decoded.nbytes + CHUNKS * elements.nbytes
