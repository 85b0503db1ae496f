"""What an encrypted round holds at once, SEAL's memory included: fresh processes, counted by the kernel.

A coordinator holds the sum, the message that came in and the message that goes out, whatever the number of hospitals:
at most three ciphertext vectors, which is what a sum takes on the wire. What is counted is its own process: a worker
that adds for it holds its part of the sum instead, and some 60 MB that do not grow with it.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.process_memory import measured, record, settle

PARAMETERS = 1_000_000
SCHEMES = ("bfv", "ckks", "double-lock")
schemes = pytest.mark.parametrize("scheme", SCHEMES)
# Contexts, tables and pools of SEAL, and the window that is shared with a worker: they do not grow with the vector.
CONSTANT = 4 * 1024 * 1024

pytestmark = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux counts peaks like this")


def in_vectors(role: str, folder: Path) -> float:
    """The growth of a coordinator's memory, in ciphertext vectors."""
    found = measured(role, folder)
    print(f"{folder.name}: {found}, {found['growth'] / found['sum']:.2f} ciphertext vectors")
    return found["growth"] / found["sum"]


@schemes
def test_the_sum_of_a_million_parameters_takes_a_coordinator_three_ciphertext_vectors_at_most(tmp_path, scheme):
    record(tmp_path, 5, PARAMETERS, scheme)
    assert in_vectors("coordinator", tmp_path) < 3


def test_control_a_coordinator_that_keeps_what_it_was_sent_is_noticed(tmp_path):
    record(tmp_path, 5, PARAMETERS, "bfv")
    assert in_vectors("coordinator that keeps all", tmp_path) > 3.5


@pytest.mark.slow
@pytest.mark.timeout(1200)
@schemes
def test_the_sum_of_fifty_times_a_million_parameters_takes_no_more(tmp_path, scheme):
    record(tmp_path, 50, PARAMETERS, scheme)
    assert in_vectors("coordinator", tmp_path) < 3


@pytest.fixture(scope="module", params=SCHEMES)
def found(request, tmp_path_factory):
    """What a hospital finds of itself, from its update to the opened sum."""
    folder = tmp_path_factory.mktemp(request.param)
    settle(folder, 3, PARAMETERS, request.param)
    return measured("hospital", folder)


def test_a_hospital_holds_two_copies_of_its_update_and_its_message_at_most(found):
    # The update itself was there before.
    assert found["masking"] < found["update"] + found["message"] + CONSTANT


def test_opening_a_sum_takes_a_hospital_two_updates_at_most(found):
    """The packed elements and the elements; the message was there before."""
    assert found["opening"] < 2 * found["update"] + CONSTANT
