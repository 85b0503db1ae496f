"""One round after set-up, 40 hospitals and 15,000 parameters: CPU time of each side, and the coordinator's memory."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from benchmarks.clock import Clock
from benchmarks.sizes import size
from secagg.charter import Model
from tests.support.consortium import MODEL_DIGEST, Consortium

HOSPITALS = size(40, 12)
PARAMETERS = size(15_000, 1_000)
MANY_PARAMETERS = size(500_000, 50_000)
ROUNDS = size(5, 2)
DROPS = size({3, 9, 11, 20}, {3, 9})
COORDINATOR = 0


def make(folder: Path, hospitals: int, parameters: int = PARAMETERS) -> tuple[Consortium, dict]:
    model = Model(digest=MODEL_DIGEST, parameters=parameters)
    consortium = Consortium.make(folder, hospitals, model=model, epoch_rounds=ROUNDS)
    consortium.set_up()
    return consortium, consortium.random_vectors(np.random.default_rng(1))


def run_round(consortium: Consortium, vectors: dict, drops: set[int]) -> Clock:
    clock = Clock()
    server, clients = consortium.server, consortium.clients

    def to_hospitals(outbox: list[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
        replies = []
        for number, message in outbox:
            with clock.of(number):
                replies += [(number, reply) for reply in clients[number].receive(message)]
        return replies

    def to_coordinator(replies: list[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
        with clock.of(COORDINATOR):
            outbox = []
            for number, reply in replies:
                outbox += server.receive(number, reply)
            return outbox or server.timeout()

    with clock.of(COORDINATOR):
        outbox = server.begin(1)
    to_hospitals(outbox)
    masked = []
    for number, client in clients.items():
        if number not in drops:
            with clock.of(number):
                masked.append((number, client.mask(vectors[number], MODEL_DIGEST)))
    # With drop-outs the survivors agree before they reveal: one message more of each side.
    replies = masked
    while replies:
        replies = to_hospitals(to_coordinator(replies))
    assert server.result is not None
    assert set(server.result.survivors.numbers) == set(clients) - drops
    return clock


@pytest.mark.parametrize("drops", [set(), DROPS], ids=["all answer", "some drop out"])
def bench_round(benchmark, figure, tmp_path, drops):
    consortium, vectors = make(tmp_path, HOSPITALS)
    clocks = []
    benchmark.pedantic(lambda: clocks.append(run_round(consortium, vectors, drops)), rounds=ROUNDS)
    hospital = float(np.median([[c.spent[n] for n in consortium.clients if n not in drops] for c in clocks])) * 1e3
    coordinator = float(np.median([clock.spent[COORDINATOR] for clock in clocks])) * 1e3
    benchmark.extra_info.update(hospital_ms=hospital, coordinator_ms=coordinator)
    what = f"of {HOSPITALS}, {len(drops)} drop out, {PARAMETERS} parameters: CPU"
    figure(f"{what} of a hospital", hospital, "ms", at_most=10)
    figure(f"{what} of the coordinator", coordinator, "ms", at_most=30)


def bench_coordinator_memory(benchmark, figure, tmp_path):
    """The coordinator adds up as vectors come in: its peak must not grow by a vector a hospital."""
    parameters = MANY_PARAMETERS
    peaks = {}

    def measure(hospitals: int) -> None:
        consortium, vectors = make(tmp_path / str(hospitals), hospitals, parameters)
        server = consortium.server
        consortium.deliver(server.begin(1))
        tracemalloc.start()
        base = tracemalloc.get_traced_memory()[0]
        for number, client in consortium.clients.items():
            message = client.mask(vectors[number], MODEL_DIGEST)
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            server.receive(number, message)
            peak = tracemalloc.get_traced_memory()[1] - before
            held = before - base - len(message)
            peaks[hospitals] = max(peaks.get(hospitals, 0), held + peak)
        tracemalloc.stop()

    benchmark.pedantic(lambda: [measure(hospitals) for hospitals in (5, 20)], rounds=1)
    vector = parameters * 4
    growth = (peaks[20] - peaks[5]) / 15 / vector
    benchmark.extra_info.update(peak_megabytes=peaks, growth_in_vectors_a_hospital=growth)
    figure(f"coordinator's peak while collecting, 5 hospitals, {vector / 1e6:g} MB vectors", peaks[5] / 1e6, "MB")
    figure("coordinator's peak while collecting, 20 hospitals", peaks[20] / 1e6, "MB")
    figure("growth of that peak, in vectors a hospital", growth, "", at_most=0.05)
