"""Masks that several processes compute are the masks that one computes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from secagg.encoding import Ring, pack, packed_size
from secagg.masking import expansion, keystream
from secagg.masking.keystream import (
    MaskService,
    MaskStreams,
    SignedKey,
    add_masks,
    encode_streams,
    in_one_process,
    pack_masked,
)
from secagg.masking.prg import CHUNK_BYTES
from secagg.processes.team import Team
from tests.support.mask_team import KEYS, by, random_vector, started


@pytest.fixture(scope="module")
def unharmed() -> Iterator[Team]:
    """Two workers for the tests that let them live."""
    team = started(2)
    yield team
    assert len(team.workers) == 2
    team.disband()


# --- The same masks ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["<u4", "<u8"])
@pytest.mark.parametrize("length", [0, 1, 7, 16_385, 131_072, 1_000_003])
@pytest.mark.parametrize("tag_size", [8, 16])
def test_vector_and_tag_are_those_of_one_process(unharmed, dtype, length, tag_size):
    alone, together = random_vector(length, dtype), random_vector(length, dtype)
    tag_alone = add_masks(alone, KEYS, [12345], tag_size, in_one_process)
    tag_together = add_masks(together, KEYS, [12345], tag_size, by(unharmed))
    np.testing.assert_array_equal(together, alone)
    assert tag_together == tag_alone


@pytest.mark.parametrize("bits", [16, 17, 20, 24, 32, 33, 48, 64])
def test_a_masked_and_packed_vector_is_the_masked_vector_packed(unharmed, bits):
    ring = Ring(bits)
    vector = random_vector(300_001, ring.dtype.str)
    masked = vector.copy()
    tag = add_masks(masked, KEYS, [99], 16)
    for expand in (in_one_process, by(unharmed)):
        packed = memoryview(bytearray(packed_size(len(vector), bits)))
        packed_tag = pack_masked(vector, ring, KEYS, [99], 16, packed, expand)
        assert (bytes(packed), packed_tag) == (pack(masked, ring), tag)
    np.testing.assert_array_equal(vector, random_vector(300_001, ring.dtype.str))


@pytest.mark.parametrize("bits", [24, 48])
def test_signed_numbers_are_masked_as_the_ring_elements_that_they_stand_for(bits):
    ring = Ring(bits)
    values = np.random.default_rng(bits).integers(-ring.largest, ring.largest, 1_001)
    signed, unsigned = (memoryview(bytearray(packed_size(len(values), bits))) for _ in range(2))
    tag = pack_masked(values, ring, KEYS, [0], 8, signed)
    assert pack_masked(ring.from_signed(values), ring, KEYS, [0], 8, unsigned) == tag
    assert signed == unsigned


def pieces_of(team: Team, length: int) -> tuple[np.ndarray, set[int], set[int]]:
    """How often each element came, the first elements of all pieces, and of those that were computed here."""
    covered, starts, own = np.zeros(length, int), set(), set()
    streams = MaskStreams(KEYS, np.dtype("<u4"))
    compute = streams.sum_into

    def note(start: int, out: np.ndarray) -> None:
        own.add(start)
        compute(start, out)

    streams.sum_into = note
    for start, masks in by(team)(streams, length):
        covered[start : start + len(masks)] += 1
        starts.add(start)
    return covered, starts, own


def test_every_element_is_in_one_piece_and_workers_compute_some(unharmed):
    # On a busy machine a worker may be late with all of one job.
    for _ in range(50):
        covered, starts, own = pieces_of(unharmed, 2_000_003)
        assert (covered == 1).all()
        assert all(start * 4 % CHUNK_BYTES == 0 for start in starts)
        if own < starts:
            return
    pytest.fail("no worker ever computed a piece")


def test_workers_serve_one_job_after_another_each_with_its_own_keys(unharmed):
    for number in range(1, 6):
        keys = [SignedKey(bytes([number + 40]) * 32, 1)] * number
        alone, together = random_vector(400_000, "<u4"), random_vector(400_000, "<u4")
        add_masks(alone, keys)
        add_masks(together, keys, expand=by(unharmed))
        np.testing.assert_array_equal(together, alone)


def test_a_worker_that_makes_other_masks_than_its_employer_makes_none(unharmed, monkeypatch):
    """As one does that was started after an update, by an employer that was started before."""
    ours = encode_streams(MaskStreams(KEYS, np.dtype("<u4")))
    monkeypatch.setattr(keystream, "CHUNK_BYTES", CHUNK_BYTES // 2)
    with pytest.raises(ValueError, match="makes other masks than its employer"):
        MaskService(ours)
    monkeypatch.setattr(expansion, "CHUNK_BYTES", CHUNK_BYTES // 2)
    team = started(1)
    # It may be late with the first jobs, and its end is noticed when something is expected of it.
    for _ in range(50):
        alone, together = random_vector(400_000, "<u4"), random_vector(400_000, "<u4")
        add_masks(alone, KEYS)
        add_masks(together, KEYS, expand=by(team))
        np.testing.assert_array_equal(together, alone)
    assert team.workers == []


def test_more_keys_than_a_pipe_holds_reach_the_worker(unharmed):
    keys = [SignedKey(number.to_bytes(32, "big"), 1) for number in range(5_000)]
    alone, together = random_vector(40_000, "<u4"), random_vector(40_000, "<u4")
    add_masks(alone, keys)
    add_masks(together, keys, expand=by(unharmed))
    np.testing.assert_array_equal(together, alone)
