"""One round after set-up, 40 hospitals and 15,000 parameters: CPU time of each side, and the coordinator's memory."""

from __future__ import annotations

import tracemalloc
from statistics import median

import numpy as np
import pytest

from benchmarks.sizes import size
from secagg.charter import Model
from secagg.charter.thresholds import smallest_threshold
from secagg.masking.sizes import Shape
from tests.support.consortium import MODEL_DIGEST, Consortium
from training.choices import USUAL_FIELD_BITS
from training.costs.trial import PhaseCost, Trial

HOSPITALS = size(40, 12)
PARAMETERS = size(15_000, 1_000)
MANY_PARAMETERS = size(500_000, 50_000)
ROUNDS = size(5, 2)
DROPS = size(4, 2)


@pytest.mark.parametrize("drops", [0, DROPS], ids=["all answer", "some drop out"])
def bench_round(benchmark, figure, tmp_path, drops):
    shape = Shape(
        HOSPITALS, smallest_threshold(HOSPITALS, 1), drops, PARAMETERS + 1, USUAL_FIELD_BITS, ROUNDS, graph=None
    )
    costs: list[PhaseCost] = []
    with Trial(tmp_path, shape) as trial:
        trial.set_up()
        benchmark.pedantic(lambda: costs.append(trial.round()), rounds=ROUNDS)
    hospital = median(cost.hospital for cost in costs) * 1e3
    coordinator = median(cost.coordinator for cost in costs) * 1e3
    benchmark.extra_info.update(hospital_ms=hospital, coordinator_ms=coordinator)
    what = f"of {HOSPITALS}, {drops} drop out, {PARAMETERS} parameters: CPU"
    figure(f"{what} of a hospital", hospital, "ms", at_most=10)
    figure(f"{what} of the coordinator", coordinator, "ms", at_most=30)


def bench_coordinator_memory(benchmark, figure, tmp_path):
    """The coordinator adds up as vectors come in: its peak must not grow by a vector a hospital."""
    parameters = MANY_PARAMETERS
    peaks = {}

    def measure(hospitals: int) -> None:
        model = Model(digest=MODEL_DIGEST, parameters=parameters)
        consortium = Consortium.make(tmp_path / str(hospitals), hospitals, model=model, epoch_rounds=1)
        consortium.set_up()
        server, vectors = consortium.server, consortium.random_vectors(np.random.default_rng(1))
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
