"""What `sizes` says of a consortium is what a real one of that size sends."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from secagg.charter import NeighbourGraph
from secagg.charter.model import smallest_threshold
from secagg.graph import Graph, smallest_graph
from secagg.masking.sizes import Shape, Traffic, round_traffic, set_up_traffic
from secagg.masking.states import ServerState
from tests.support.consortium import MODEL_DIGEST, Consortium

MEMBERS, DROPPED, ROUNDS, PARAMETERS = 40, 4, 3, 20


class Counting(Consortium):
    """Counts what passes, in both directions."""

    def deliver(self, outbox, silent=()):
        replies = super().deliver(outbox, silent)
        for direction, messages in (("down", outbox), ("up", replies)):
            passed[direction] += len(messages)
            passed[f"{direction} bytes"] += sum(len(message) for _, message in messages)
        return replies


passed: Counter[str] = Counter()


def shape(graph: Graph | None, dropped: int) -> Shape:
    threshold = smallest_threshold(MEMBERS, 1)
    return Shape(MEMBERS, threshold, dropped, PARAMETERS + 1, 24, ROUNDS, graph)


def make(folder, graph: Graph | None) -> Consortium:
    changes = {"graph": NeighbourGraph(degree=graph.degree, threshold=graph.threshold)} if graph else {}
    passed.clear()
    return Counting.make(folder, MEMBERS, **changes)


def close(said: Traffic, by: int, within: float) -> None:
    for name, value in (
        ("up", said.messages_up),
        ("down", said.messages_down),
        ("up bytes", said.bytes_up),
        ("down bytes", said.bytes_down),
    ):
        assert value == pytest.approx(passed[name] / by, rel=within), name


GRAPHS = pytest.mark.parametrize("graph", [None, smallest_graph(MEMBERS, 1, DROPPED)], ids=["complete", "sparse"])


@GRAPHS
def test_a_set_up_takes_as_many_messages_and_bytes_as_a_real_one(tmp_path, graph):
    consortium = make(tmp_path, graph)
    consortium.set_up()
    # In a sparse graph it is by chance how many are neighbours twice over.
    close(set_up_traffic(shape(graph, DROPPED)), MEMBERS, 0.06 if graph else 0.002)


@GRAPHS
@pytest.mark.parametrize("dropped", [0, DROPPED])
def test_a_round_takes_as_many_messages_and_bytes_as_a_real_one(tmp_path, graph, dropped):
    consortium = make(tmp_path, graph)
    consortium.set_up()
    vectors = consortium.random_vectors(np.random.default_rng(1))
    passed.clear()
    gone = set(range(1, dropped + 1))
    outbox = consortium.server.begin(1)
    outbox = [(number, message) for number, message in outbox if number not in gone]
    consortium.deliver(outbox)
    masked = [(n, consortium.clients[n].mask(vectors[n], MODEL_DIGEST)) for n in consortium.clients if n not in gone]
    passed["up"] += len(masked)
    passed["up bytes"] += sum(len(message) for _, message in masked)
    outbox = consortium.answer(masked)
    while outbox and consortium.server.state in (ServerState.AGREEING, ServerState.UNMASKING):
        outbox = consortium.answer(consortium.deliver(outbox))
    consortium.deliver([(number, message) for number, message in outbox if number not in gone])
    assert consortium.server.result is not None
    # Nor do those who drop hold as many shares as others; with vectors this short, shares are most of what is sent.
    close(round_traffic(shape(graph, dropped)), MEMBERS - dropped, 0.06 if graph else 0.01)


def test_a_hospital_masks_with_whom_it_drew_and_who_drew_it(tmp_path):
    graph = smallest_graph(MEMBERS, 1, DROPPED)
    consortium = make(tmp_path, graph)
    consortium.set_up()
    peers = [len(client._epoch.mask_keys(1, MODEL_DIGEST)) - 1 for client in consortium.clients.values()]
    assert shape(graph, 0).peers == pytest.approx(np.mean(peers), rel=0.06)


def test_what_a_hospital_sends_in_a_round_stays_the_same_however_many_there_are():
    sent = []
    for members in (200, 500, 1000):
        graph = smallest_graph(members, members // 20, members // 10)
        threshold = smallest_threshold(members, members // 20)
        sent.append(round_traffic(Shape(members, threshold, members // 10, 15_001, 24, 10, graph)).bytes_up)
    assert max(sent) / min(sent) < 1.05


@pytest.mark.parametrize(("bits", "most"), [(24, 3.05)])
def test_fifty_hospitals_send_three_bytes_for_each_parameter_of_sixteen_bits(bits, most):
    """Fifty numbers of 16 bits and a sign add up to fewer than 24 bits."""
    assert 2 ** (bits - 1) > 50 * (2**16 - 1)
    complete = Shape(50, 26, 5, 1_000_001, bits, 10, None)
    traffic, set_up = round_traffic(complete), set_up_traffic(complete)
    assert (traffic.bytes_up + set_up.bytes_up / 10) / 1_000_000 <= most
    assert (traffic.bytes_down + set_up.bytes_down / 10) / 1_000_000 <= most
