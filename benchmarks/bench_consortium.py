"""A large consortium with a neighbour graph: set-up and a round with a tenth dropped, every hospital real.

`make bench-consortium`: 200 and 1,000 hospitals take some minutes. What one hospital spends must not grow with them.
"""

from __future__ import annotations

import statistics
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from benchmarks.clock import Clock
from benchmarks.sizes import size
from secagg.charter import Model, NeighbourGraph
from secagg.charter.thresholds import smallest_threshold
from secagg.graph import smallest_graph
from secagg.masking.states import ServerState
from tests.support.consortium import MODEL_DIGEST, Consortium, integer_sum

SIZES = size((200, 1000), (30, 40))
PARAMETERS = size(15_000, 500)
COORDINATOR = 0
_KILO = 1000.0


@dataclass(frozen=True)
class Cost:
    """What the median hospital and the coordinator spent: CPU milliseconds, and a hospital's bytes both ways."""

    set_up: float
    round: float
    coordinator_set_up: float
    coordinator_round: float
    set_up_bytes: float
    round_bytes: float


class Run:
    """One consortium, party by party."""

    def __init__(self, folder: Path, hospitals: int) -> None:
        colluding, self.dropped = hospitals // 20, hospitals // 10
        graph = smallest_graph(hospitals, colluding, self.dropped)
        self.consortium = Consortium.make(
            folder,
            hospitals,
            model=Model(digest=MODEL_DIGEST, parameters=PARAMETERS),
            max_colluding=colluding,
            threshold=smallest_threshold(hospitals, colluding),
            graph=NeighbourGraph.of(graph),
            epoch_rounds=1,
        )
        self.degree = graph.degree
        self.clock, self.passed = Clock(), dict.fromkeys(self.consortium.clients, 0)

    def to_hospitals(self, outbox: list[tuple[int, bytes]], gone: frozenset[int] = frozenset()) -> list:
        replies = []
        for number, message in outbox:
            if number in gone:
                continue
            with self.clock.of(number):
                answers = self.consortium.clients[number].receive(message)
            replies += [(number, answer) for answer in answers]
            self.passed[number] += len(message) + sum(len(answer) for answer in answers)
        return replies

    def to_coordinator(self, replies: list[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
        with self.clock.of(COORDINATOR):
            return self.consortium.answer(replies)

    def take(self) -> tuple[float, float, float]:
        """Milliseconds of the median hospital and of the coordinator, a hospital's bytes, since the last time."""
        numbers = [number for number in self.passed if self.passed[number]]
        taken = (
            statistics.median(self.clock.spent[number] for number in numbers) * _KILO,
            self.clock.spent[COORDINATOR] * _KILO,
            statistics.mean(self.passed[number] for number in numbers),
        )
        self.clock, self.passed = Clock(), dict.fromkeys(self.passed, 0)
        return taken

    def set_up(self) -> None:
        with self.clock.of(COORDINATOR):
            outbox = self.consortium.server.open()
        while outbox:
            outbox = self.to_coordinator(self.to_hospitals(outbox))
            if self.consortium.server.state is ServerState.READY:
                self.to_hospitals(outbox)
                return

    def round(self) -> None:
        server, clients = self.consortium.server, self.consortium.clients
        generator = np.random.default_rng(1)
        vectors = self.consortium.random_vectors(generator)
        gone = frozenset(generator.choice(list(clients), self.dropped, replace=False).tolist())
        with self.clock.of(COORDINATOR):
            outbox = server.begin(1)
        self.to_hospitals(outbox, gone)
        replies = []
        for number in sorted(set(clients) - gone):
            with self.clock.of(number):
                replies.append((number, clients[number].mask(vectors[number], MODEL_DIGEST)))
            self.passed[number] += len(replies[-1][1])
        while replies:
            replies = self.to_hospitals(self.to_coordinator(replies), gone)
        assert set(server.result.survivors.numbers) == set(clients) - gone
        ring = server.session.ring
        expected = integer_sum(self.consortium, vectors, server.result.survivors.numbers)
        np.testing.assert_array_equal(ring.to_signed(server.result.vector), expected)


def measure(hospitals: int) -> Cost:
    with tempfile.TemporaryDirectory() as folder:
        run = Run(Path(folder), hospitals)
        run.set_up()
        set_up = run.take()
        run.round()
        round_ = run.take()
    return Cost(set_up[0], round_[0], set_up[1], round_[1], set_up[2], round_[2])


@pytest.mark.timeout(1200)
def bench_large_consortium(benchmark, figure):
    costs: dict[int, Cost] = {}
    benchmark.pedantic(lambda: costs.update({n: measure(n) for n in SIZES}), rounds=1)
    for hospitals, cost in costs.items():
        what = f"{hospitals} hospitals, a tenth drops out:"
        figure(f"{what} a hospital's set-up, CPU", cost.set_up, "ms")
        figure(f"{what} a hospital's round, CPU", cost.round, "ms")
        figure(f"{what} a hospital's set-up, both ways", cost.set_up_bytes / _KILO, "kB")
        figure(f"{what} a hospital's round, both ways", cost.round_bytes / _KILO, "kB")
        figure(f"{what} the coordinator's set-up, CPU", cost.coordinator_set_up / _KILO, "s")
        figure(f"{what} the coordinator's round, CPU", cost.coordinator_round / _KILO, "s")
    few, many = (costs[n] for n in SIZES)
    neighbours = [smallest_graph(n, n // 20, n // 10).degree for n in SIZES]
    figure(f"{SIZES[1]} to {SIZES[0]} hospitals: neighbours", neighbours[1] / neighbours[0], "x")
    figure(f"{SIZES[1]} to {SIZES[0]} hospitals: a hospital's set-up, CPU", many.set_up / few.set_up, "x")
    figure(f"{SIZES[1]} to {SIZES[0]} hospitals: a hospital's round, CPU", many.round / few.round, "x")
    figure(f"{SIZES[1]} to {SIZES[0]} hospitals: a hospital's round, bytes", many.round_bytes / few.round_bytes, "x")
