"""Bytes on the wire, counted in the messages of a whole round among 50 hospitals, set-up aside.

Sixteen-bit values: the sum of 50 of them needs 22 bits. Fields of 22 bits hold it; fields of 24, the default, are
whole bytes, and leave room for values of 18 bits.
"""

from __future__ import annotations

import pytest

from benchmarks.sizes import size
from secagg.charter.thresholds import smallest_threshold
from secagg.encoding import Ring
from secagg.masking.sizes import Shape
from training.costs.trial import PhaseCost, Trial

HOSPITALS = size(50, 8)
PARAMETERS = size(1_000_000, 20_000)
SIXTEEN_BITS = (1 << 15) - 1


@pytest.mark.parametrize("drops", size([0, 5], [1], [5]))
# The wider fields are nearer to the target.
@pytest.mark.parametrize("bits", size([22, 24], [22, 24], [24]))
def bench_wire_bytes(benchmark, figure, tmp_path, bits, drops):
    assert Ring(bits).largest // HOSPITALS >= SIXTEEN_BITS
    shape = Shape(HOSPITALS, smallest_threshold(HOSPITALS, 1), drops, PARAMETERS + 1, bits, rounds=1, graph=None)
    costs: list[PhaseCost] = []
    with Trial(tmp_path, shape) as trial:
        trial.set_up()
        benchmark.pedantic(lambda: costs.append(trial.round()), rounds=1)
    up, down = costs[0].traffic.bytes_up / PARAMETERS, costs[0].traffic.bytes_down / PARAMETERS
    benchmark.extra_info.update(up=up, down=down)
    what = f"n = {HOSPITALS}, {drops} drop out, 16-bit values in {bits} bits"
    figure(f"{what}: sent", up, "B/par", at_most=3.05)
    figure(f"{what}: received", down, "B/par", at_most=3.05)
