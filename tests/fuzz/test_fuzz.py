"""Every decoder takes bytes or refuses them with its documented error, and needs little memory: `make fuzz` in short.

The inputs are real ones, some that were bad once, and several hundred mutations for each decoder: in every run the
same.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from secagg.errors import InputError
from secagg.policy import load_policy
from tests.fuzz.catalogue import HARNESSES
from tests.fuzz.harness import Harness, on_a_file
from tests.fuzz.mutation import mutations

INPUTS = 800
MOST_MEGABYTES = 200

# Pillow says in warnings what it made of a damaged picture.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL.*")


@pytest.fixture
def grown():
    """How many megabytes more this process has held at once than when it asked first."""
    status, forget = Path("/proc/self/status"), Path("/proc/self/clear_refs")
    if not forget.exists():
        pytest.skip("only Linux says what a process needed at most")

    def peak() -> int:
        return int(re.search(r"VmHWM:\s+(\d+) kB", status.read_text())[1]) // 1024

    forget.write_text("5")  # proc(5): resets the peak to what is held now.
    before = peak()
    return lambda: peak() - before


def try_all(harness: Harness) -> list[bool]:
    return [harness.try_one(data) for data in mutations(harness.seeds(), INPUTS)]


@pytest.mark.parametrize("name", sorted(HARNESSES))
def test_bytes_are_taken_or_refused_and_nothing_else_happens(name, grown):
    taken = try_all(HARNESSES[name])
    assert any(taken)
    assert not all(taken)
    assert grown() < MOST_MEGABYTES


def test_mutations_are_the_same_in_every_run_and_differ_from_their_seeds():
    seeds = [b"one of them", b"another"]
    first = list(mutations(seeds, 100))
    assert first == list(mutations(seeds, 100))
    assert first[:2] == seeds
    assert len(set(first)) > 80


# --- Controls --------------------------------------------------------------------------------------------------


def test_control_a_decoder_that_lets_another_error_out_is_found():
    harness = Harness("weak", HARNESSES["policy"].seeds, on_a_file("p.toml", weak_policy), (InputError,))
    with pytest.raises(UnicodeDecodeError):
        try_all(harness)


def weak_policy(path):
    path.read_bytes().decode()
    return load_policy(path)


def test_control_a_decoder_that_believes_a_length_is_found(grown):
    believed = bytearray(MOST_MEGABYTES * 1024 * 1024)
    believed[:: 1 << 12] = bytes([1]) * (len(believed) >> 12)
    assert grown() >= MOST_MEGABYTES - 1
