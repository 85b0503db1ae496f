"""What `sizes` says of a consortium is what a real one of that size sends."""

from __future__ import annotations

import random
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from secagg.charter import Encoding, Homomorphic, Model, NeighbourGraph
from secagg.charter.thresholds import smallest_threshold
from secagg.errors import InputError
from secagg.graph import smallest_graph
from secagg.masking import sizes
from secagg.masking.lots import draw
from secagg.masking.sizes import Shape, Traffic, round_traffic, set_up_traffic
from secagg.masking.states import ServerState
from tests.support.consortium import MODEL_DIGEST, Consortium
from training.testbed.toy_noise import noisy

MEMBERS, DROPPED, ROUNDS, PARAMETERS = 40, 4, 3, 20
SPARSE = smallest_graph(MEMBERS, 1, DROPPED)
SCHEMES = ["mask", "double-lock", "bfv", "ckks"]


@dataclass
class Counting(Consortium):
    """Counts what passes between the coordinator and those who do not drop out, in both directions."""

    passed: Counter[str] = field(default_factory=Counter)

    def deliver(self, outbox, silent=()):
        self.count("down", [message for number, message in outbox if number not in silent])
        return super().deliver(outbox, silent)

    def answer(self, replies):
        self.count("up", [message for _, message in replies])
        return super().answer(replies)

    def count(self, direction, messages):
        self.passed[direction] += len(messages)
        self.passed[f"{direction} bytes"] += sum(len(message) for message in messages)

    def one_round(self, gone: set[int]) -> None:
        self.passed.clear()
        self.deliver(self.server.begin(1), gone)
        outbox = self.answer(self.mask(self.random_vectors(np.random.default_rng(1)), gone))
        while self.server.state in (ServerState.AGREEING, ServerState.UNMASKING):
            outbox = self.answer(self.deliver(outbox))
        self.deliver(outbox, gone)
        assert self.server.result is not None

    def per_hospital(self, hospitals: int) -> Traffic:
        passed = self.passed
        totals = (passed["up"], passed["down"], passed["up bytes"], passed["down bytes"])
        return Traffic(*(total / hospitals for total in totals))


def shape(**changes) -> Shape:
    threshold = smallest_threshold(changes.get("members", MEMBERS), 1)
    usual = Shape(MEMBERS, threshold, 0, PARAMETERS + 1, 24, ROUNDS, None)
    return replace(usual, **changes)


def consortium_of(folder: Path, one: Shape) -> Counting:
    changes = {
        "scheme": one.scheme,
        "homomorphic": Homomorphic(parameters=one.parameter_set),
        "model": Model(digest=MODEL_DIGEST, parameters=one.length - 1),
        "encoding": Encoding(field_bits=one.bits),
    }
    if one.noise_levels:
        changes |= noisy(*one.noise_levels)
    changes["graph"] = NeighbourGraph.of(one.graph)
    return Counting.make(folder, one.members, **changes)


def assert_close(said: Traffic, counted: Traffic, within: float) -> None:
    for name in ("messages_up", "messages_down", "bytes_up", "bytes_down"):
        assert getattr(said, name) == pytest.approx(getattr(counted, name), rel=within), name


# --- All with all: exact -------------------------------------------------------------------------------------

SEVERAL_BLOCKS = {"members": 7, "length": 20_001}
SHAPES = [
    shape(),
    shape(noise_levels=(20, 18, 15, 13), members=20),
    *(shape(scheme=scheme, members=20) for scheme in SCHEMES[1:]),
    *(shape(scheme=scheme, **SEVERAL_BLOCKS) for scheme in SCHEMES),
    shape(scheme="double-lock", members=7, parameter_set="n8192-q60", length=60_001, bits=16),
    *(shape(scheme=scheme, members=3, bits=64, length=10_001) for scheme in SCHEMES),
]


def named(one: Shape) -> str:
    return "-".join(map(str, (one.scheme, f"{one.members}x{one.length}x{one.bits}", *one.noise_levels)))


every_shape = pytest.mark.parametrize("one", SHAPES, ids=named)


@every_shape
@pytest.mark.parametrize("share_gone", [0, 0.15], ids=["all answer", "some drop"])
def test_set_up_and_round_take_exactly_as_many_messages_and_bytes_as_real_ones(tmp_path, one, share_gone):
    gone = set(range(1, 1 + int(share_gone * one.members)))
    with consortium_of(tmp_path, one) as consortium:
        consortium.set_up()
        assert set_up_traffic(one) == consortium.per_hospital(one.members)
        consortium.one_round(gone)
        counted = consortium.per_hospital(one.members - len(gone))
    assert round_traffic(replace(one, dropped=len(gone))) == counted


def test_vectors_of_several_blocks_are_among_those_that_are_compared():
    blocks = {one.scheme: one.form.blocks for one in SHAPES if one.encrypted and one.length == 20_001}
    assert blocks == {"double-lock": 3, "bfv": 3, "ckks": 3}


@pytest.mark.parametrize("scheme", ["bfv", "ckks"])
def test_where_nothing_is_masked_a_round_takes_one_message_whatever_drops(scheme):
    for dropped in (0, DROPPED):
        traffic = round_traffic(shape(scheme=scheme, dropped=dropped))
        assert (traffic.messages_up, traffic.messages_down) == (1, 2)


# --- Neighbours: on average ----------------------------------------------------------------------------------


def test_among_neighbours_a_set_up_takes_about_as_many_messages_and_bytes_as_a_real_one(tmp_path):
    one = shape(graph=SPARSE)
    with consortium_of(tmp_path, one) as consortium:
        consortium.set_up()
        # It is by chance how many are neighbours twice over.
        assert_close(set_up_traffic(one), consortium.per_hospital(MEMBERS), 0.06)


@pytest.mark.parametrize("dropped", [0, DROPPED])
def test_among_neighbours_a_round_takes_about_as_many_messages_and_bytes_as_a_real_one(tmp_path, dropped):
    one = shape(graph=SPARSE, dropped=dropped)
    with consortium_of(tmp_path, one) as consortium:
        consortium.set_up()
        consortium.one_round(set(range(1, dropped + 1)))
        # Nor do those who drop hold as many shares as others; with vectors this short, shares are most of what is sent.
        assert_close(round_traffic(one), consortium.per_hospital(MEMBERS - dropped), 0.06)


def test_a_hospital_masks_with_whom_it_drew_and_who_drew_it(tmp_path):
    one = shape(graph=SPARSE)
    with consortium_of(tmp_path, one) as consortium:
        consortium.set_up()
        peers = [len(client._epoch.mask_keys(1, MODEL_DIGEST)) - 1 for client in consortium.clients.values()]
    assert one.peers == pytest.approx(np.mean(peers), rel=0.06)


def test_what_a_hospital_sends_in_a_round_stays_the_same_however_many_there_are():
    sent = []
    for members in (200, 500, 1000):
        graph = smallest_graph(members, members // 20, members // 10)
        threshold = smallest_threshold(members, members // 20)
        sent.append(round_traffic(Shape(members, threshold, members // 10, 15_001, 24, 10, graph)).bytes_up)
    assert max(sent) / min(sent) < 1.05


# --- What is promised ----------------------------------------------------------------------------------------


def a_parameter(one: Shape) -> tuple[float, float]:
    """Bytes up and down for each parameter, with a round's part of the set-up."""
    traffic, set_up = round_traffic(one), set_up_traffic(one)
    up, down = (traffic.bytes_up + set_up.bytes_up / one.rounds, traffic.bytes_down + set_up.bytes_down / one.rounds)
    return up / (one.length - 1), down / (one.length - 1)


@pytest.mark.parametrize(("bits", "most"), [(24, 3.05)])
def test_fifty_hospitals_send_three_bytes_for_each_parameter_of_sixteen_bits(bits, most):
    """Fifty numbers of 16 bits and a sign add up to fewer than 24 bits."""
    assert 2 ** (bits - 1) > 50 * (2**16 - 1)
    assert max(a_parameter(Shape(50, 26, 5, 1_000_001, bits, 10, None))) <= most


@pytest.mark.parametrize("parameter_set", ["n4096-q60", "n8192-q60"])
@pytest.mark.parametrize("scheme", ["bfv", "double-lock"])
@pytest.mark.parametrize("dropped", [0, 10])
def test_a_hundred_hospitals_encrypt_each_parameter_of_sixteen_bits_in_eight_bytes_at_most(
    scheme, parameter_set, dropped
):
    """A hundred signed numbers of 16 bits add up to fewer than 23 bits. NVFlare's default takes 57.6 bytes."""
    assert 100 * 2 * 2**15 < 2**23
    one = Shape(100, smallest_threshold(100, 1), dropped, 1_000_001, 23, 10, None, scheme, parameter_set)
    assert one.form.codec.per_coefficient == 2
    up, down = a_parameter(one)
    assert up <= 4
    assert down <= 8


# --- What cannot be ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("scheme", "most"), [("mask", 1_431_655_000), ("bfv", 572_000_000), ("ckks", 572_000_000)])
def test_a_sum_that_goes_into_no_message_is_refused_and_the_largest_is_not(scheme, most):
    assert round_traffic(shape(scheme=scheme, length=most)).bytes_down < 2**32
    with pytest.raises(InputError) as caught:
        round_traffic(shape(scheme=scheme, length=most + 1_000_000))
    assert caught.value.reason == "too-large"


def test_a_scheme_that_does_not_encrypt_has_no_form():
    with pytest.raises(ValueError, match="does not encrypt"):
        _ = shape().form


def test_sizes_under_masks_are_had_without_tenseal():
    code = (
        f"import sys; from {sizes.__name__} import *; one = Shape(9, 6, 1, 100, 24, 10, None); "
        "set_up_traffic(one), round_traffic(one); print('tenseal' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], text=True, capture_output=True, check=True, timeout=100)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize(("members", "dropped"), [(120, 12), (120, 36), (400, 120)])
def test_masks_without_a_counterpart_are_those_that_survivors_share_with_peers_that_are_gone(members, dropped):
    """Counted over drawn graphs: two who are gone share masks too, and nobody added these."""
    graph = smallest_graph(members, members // 20, dropped)
    one = Shape(members, smallest_threshold(members, members // 20), dropped, 2, 24, 1, graph)
    everybody, randomness = range(1, members + 1), random.Random(1).randbytes
    counted = []
    for _ in range(5):
        drawn = {own: set(draw(list({*everybody} - {own}), graph.degree, randomness)) for own in everybody}
        pairs = ((gone, alive) for gone in everybody[:dropped] for alive in everybody[dropped:])
        counted.append(sum(alive in drawn[gone] or gone in drawn[alive] for gone, alive in pairs))
    assert one.lone_masks == pytest.approx(np.mean(counted), rel=0.03)


def test_where_all_mask_with_all_each_survivor_shares_a_mask_with_everybody_who_is_gone():
    assert shape(dropped=DROPPED).lone_masks == DROPPED * (MEMBERS - DROPPED)
