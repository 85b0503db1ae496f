"""A large consortium with a neighbour graph: set-up and a round with a tenth dropped, every hospital real.

`make bench-consortium`: 200 and 1,000 hospitals take some minutes. What one hospital spends must not grow with them.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from benchmarks.sizes import size
from secagg.charter.thresholds import smallest_threshold
from secagg.graph import smallest_graph
from secagg.masking.sizes import Shape
from training.choices import USUAL_FIELD_BITS
from training.costs.trial import PhaseCost, Trial

SIZES = size((200, 1000), (30, 40))
PARAMETERS = size(15_000, 500)
_KILO = 1000.0


def measure(hospitals: int) -> tuple[PhaseCost, PhaseCost]:
    """A set-up and a round."""
    colluding, dropped = hospitals // 20, hospitals // 10
    threshold, graph = smallest_threshold(hospitals, colluding), smallest_graph(hospitals, colluding, dropped)
    shape = Shape(hospitals, threshold, dropped, PARAMETERS + 1, USUAL_FIELD_BITS, 1, graph)
    with tempfile.TemporaryDirectory() as folder, Trial(Path(folder), shape, colluding) as trial:
        return trial.set_up(), trial.round()


def both_ways(cost: PhaseCost) -> float:
    return cost.traffic.bytes_up + cost.traffic.bytes_down


@pytest.mark.timeout(1200)
def bench_large_consortium(benchmark, figure):
    costs: dict[int, tuple[PhaseCost, PhaseCost]] = {}
    benchmark.pedantic(lambda: costs.update({n: measure(n) for n in SIZES}), rounds=1)
    for hospitals, (set_up, round_) in costs.items():
        what = f"{hospitals} hospitals, a tenth drops out:"
        figure(f"{what} a hospital's set-up, CPU", set_up.hospital * _KILO, "ms")
        figure(f"{what} a hospital's round, CPU", round_.hospital * _KILO, "ms")
        figure(f"{what} a hospital's set-up, both ways", both_ways(set_up) / _KILO, "kB")
        figure(f"{what} a hospital's round, both ways", both_ways(round_) / _KILO, "kB")
        figure(f"{what} the coordinator's set-up, CPU", set_up.coordinator, "s")
        figure(f"{what} the coordinator's round, CPU", round_.coordinator, "s")
    (few_set_up, few), (many_set_up, many) = (costs[n] for n in SIZES)
    neighbours = [smallest_graph(n, n // 20, n // 10).degree for n in SIZES]
    what = f"{SIZES[1]} to {SIZES[0]} hospitals:"
    figure(f"{what} neighbours", neighbours[1] / neighbours[0], "x")
    figure(f"{what} a hospital's set-up, CPU", many_set_up.hospital / few_set_up.hospital, "x")
    figure(f"{what} a hospital's round, CPU", many.hospital / few.hospital, "x")
    figure(f"{what} a hospital's round, bytes", both_ways(many) / both_ways(few), "x")
