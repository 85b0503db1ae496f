"""The cost model beside real parties: predicted over measured CPU time of each party, and bytes, on other cases than
that which it was fitted to.

Single operations, and the one fit (five hospitals, one parameter, `training.costs.handling`), are measured anew by
turns with runs of the case, so that both meet the same machine, and means of many are compared: a machine that is
shared is half as fast in one second as in the next. ``python -m benchmarks.bench_cost_model`` prints the table of
`docs/cost-model.md`, in a quarter of an hour.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median

import pytest

from benchmarks.sizes import size
from secagg.charter.sections import Scheme
from secagg.charter.thresholds import smallest_threshold
from secagg.graph import smallest_graph
from secagg.homomorphic.parameters import fitting_parameters
from secagg.masking.sizes import Shape, round_traffic, set_up_traffic
from secagg.processes import team
from training.costs import ciphers, handling, rates, vectors
from training.costs.times import times_of
from training.costs.trial import Trial

TURNS = size(3, 1)
# A case is run again as long as this has not passed.
ENOUGH_SECONDS = size(40, 0)
ROUNDS = size(3, 2)
# Scheme, hospitals, parameters, dropped; from a hundred hospitals on with neighbours.
CASES: list[tuple[Scheme, int, int, int]] = size(
    [
        ("mask", 5, 10_000, 0),
        ("mask", 5, 1_000_000, 1),
        ("mask", 20, 100_000, 2),
        ("mask", 20, 1_000_000, 0),
        ("mask", 50, 100_000, 5),
        ("mask", 120, 10_000, 12),
        # So many gone that masks between two who are would show.
        ("mask", 120, 10_000, 36),
        ("double-lock", 10, 10_000, 1),
        ("double-lock", 10, 300_000, 0),
        ("bfv", 5, 300_000, 0),
        ("bfv", 20, 10_000, 2),
        ("ckks", 5, 100_000, 1),
    ],
    [("mask", 6, 1000, 1), ("bfv", 4, 1000, 0)],
)
NEIGHBOURS_FROM = 100
PARTS = ("hospital's set-up", "coordinator's set-up", "hospital's round", "coordinator's round")


@dataclass(frozen=True)
class Compared:
    """One case: CPU seconds, in the order of `PARTS`, and whether bytes and messages are as predicted.

    Attributes:
        largest: the largest relative difference of messages or bytes; who draws whom is chance among neighbours.
    """

    predicted: tuple[float, ...]
    measured: tuple[float, ...]
    largest: float

    @property
    def ratios(self) -> list[float]:
        """Predicted over measured."""
        return [said / found for said, found in zip(self.predicted, self.measured, strict=True)]


def shape_of(scheme: Scheme, hospitals: int, parameters: int, dropped: int) -> tuple[Shape, int]:
    """What is compared, and how many collude."""
    colluding = hospitals // 20 if hospitals >= NEIGHBOURS_FROM else 1
    graph = smallest_graph(hospitals, colluding, dropped) if hospitals >= NEIGHBOURS_FROM else None
    threshold, parameter_set = smallest_threshold(hospitals, colluding), fitting_parameters(parameters, hospitals)
    shape = Shape(hospitals, threshold, dropped, parameters + 1, 24, ROUNDS, graph, scheme, parameter_set)
    return shape, colluding


def predict(shape: Shape) -> tuple[float, ...]:
    """By rates that are measured now."""
    for cached in (
        vectors.vector_times,
        vectors.byte_times,
        ciphers.cipher_times,
        rates.sharing_time,
        rates.rebuilding_time,
        rates.basis_time,
        rates.deal_times,
        handling.handling_of,
    ):
        cached.cache_clear()
    known = rates.Rates.measured()
    said = times_of(shape, known, handling.handling_of(shape.scheme, known))
    return said.set_up, said.coordinator_set_up, said.hospital, said.coordinator


def run(shape: Shape, colluding: int) -> tuple[tuple[float, ...], float]:
    """What real parties take, and `Compared.largest`."""
    with tempfile.TemporaryDirectory() as folder, Trial(Path(folder), shape, colluding) as trial:
        set_up = trial.set_up()
        rounds = [trial.round() for _ in range(ROUNDS)]
    found = median(one.hospital for one in rounds), median(one.coordinator for one in rounds)
    pairs = [(set_up_traffic(shape), set_up.traffic), (round_traffic(shape), rounds[0].traffic)]
    largest = max(
        abs(getattr(model, name) / getattr(real, name) - 1)
        for model, real in pairs
        for name in ("messages_up", "messages_down", "bytes_up", "bytes_down")
    )
    return (set_up.hospital, set_up.coordinator, *found), largest


def compare(scheme: Scheme, hospitals: int, parameters: int, dropped: int) -> Compared:
    """Means of many predictions and of many runs, on which as much time is spent."""
    shape, colluding = shape_of(scheme, hospitals, parameters, dropped)
    said, found, predicting, running = [], [], 0.0, 0.0
    while len(found) < TURNS or predicting < running or predicting + running < ENOUGH_SECONDS:
        started = time.monotonic()
        if predicting <= running:
            said.append(predict(shape))
            predicting += time.monotonic() - started
        else:
            found.append(run(shape, colluding))
            running += time.monotonic() - started
    measured = [times for times, _ in found]
    largest = max(largest for _, largest in found)
    return Compared(_means(said), _means(measured), largest)


def _means(rows: list[tuple[float, ...]]) -> tuple[float, ...]:
    return tuple(map(mean, zip(*rows, strict=True)))


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(map(str, case)))
def bench_predicted_over_measured(benchmark, figure, monkeypatch, case):
    monkeypatch.setattr(team, "usable_cores", lambda: 1)
    found = benchmark.pedantic(lambda: compare(*case), rounds=1)
    what = "{}, {} hospitals, {} parameters, {} gone".format(*case)
    for part, ratio in zip(PARTS, found.ratios, strict=True):
        figure(f"{what}: {part}, off by", abs(ratio - 1), "", at_most=0.25)
    benchmark.extra_info.update(predicted=found.predicted, measured=found.measured)
    figure(f"{what}: bytes, off by", found.largest, "", at_most=0.05 if case[1] >= NEIGHBOURS_FROM else 0.0)


def main() -> None:
    """A row for each case: milliseconds measured, and predicted over measured."""
    team.usable_cores = lambda: 1
    print("| scheme | hospitals | parameters | gone |", " | ".join(PARTS), "| bytes off by |")
    print("|---|---|---|---|---|---|---|---|---|")
    worst = 0.0
    for case in CASES:
        found = compare(*case)
        pairs = zip(found.measured, found.ratios, strict=True)
        cells = [f"{1000 * spent:.3g} ms, {ratio:.2f}" for spent, ratio in pairs]
        worst = max(worst, *(abs(ratio - 1) for ratio in found.ratios))
        off = f"{100 * found.largest:.2g} %" if found.largest else "0"
        print("| {} | {} | {:,} | {} |".format(*case), " | ".join(cells), f"| {off} |", flush=True)
    print(f"\nThe worst is off by {100 * worst:.0f} %.")


if __name__ == "__main__":
    main()
