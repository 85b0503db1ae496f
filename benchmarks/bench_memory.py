"""How many copies of an update are held at once, one being its ring elements (4 bytes each for up to 32 bits)."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import numpy as np

from benchmarks.sizes import size
from secagg.charter import Model
from tests.support.consortium import MODEL_DIGEST, Consortium

PARAMETERS = size(4_000_000, 100_000)


def peak_of(work: Callable[[], object]) -> int:
    """What ``work`` allocates at most beyond what there was, as Python and numpy count it.

    msgspec asks for half more than it fills, so that sealing counts for more than it touches.
    """
    tracemalloc.start()
    work()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def bench_copies(benchmark, figure, tmp_path):
    consortium = Consortium.make(tmp_path, 4, model=Model(digest=MODEL_DIGEST, parameters=PARAMETERS))
    consortium.set_up()
    server, session = consortium.server, consortium.server.session
    vectors = consortium.random_vectors(np.random.default_rng(1))
    one = vectors[1].nbytes
    copies = {}

    def measure() -> None:
        consortium.deliver(server.begin(1))
        messages = []
        sealed = peak_of(lambda: messages.append(consortium.clients[1].mask(vectors[1], MODEL_DIGEST)))
        copies["masking"] = 1 + sealed / one
        messages.append(consortium.clients[2].mask(vectors[2], MODEL_DIGEST))
        server.receive(1, messages[0])
        copies["collecting"] = (one + len(messages[1]) + peak_of(lambda: server.receive(2, messages[1]))) / one

    benchmark.pedantic(measure, rounds=1)
    benchmark.extra_info.update(copies)
    what = f"copies of an update, {PARAMETERS / 1e6:g} M in {session.ring.bits} bits"
    figure(f"{what}: hospital, input and message", copies["masking"], "", at_most=2)
    figure(f"{what}: coordinator, sum and message", copies["collecting"], "", at_most=2)
