"""The bytes of encrypted sums that docs/benchmarks.md publishes are those of real messages."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from secagg.charter.thresholds import smallest_threshold
from secagg.homomorphic.parameters import fitting_parameters
from secagg.masking.sizes import Shape, round_traffic, set_up_traffic
from training.choices import USUAL_EPOCH_ROUNDS

BENCHMARKS = Path(__file__).parents[2] / "docs" / "benchmarks.md"
HOSPITALS, PARAMETERS = 100, 1_000_000


@pytest.mark.parametrize("scheme", ["bfv", "double-lock", "ckks"])
def test_bytes_of_encrypted_sums_are_those_of_a_round_and_its_part_of_a_set_up(scheme):
    shape = Shape(
        HOSPITALS,
        smallest_threshold(HOSPITALS, 1),
        0,
        PARAMETERS + 1,
        23,
        USUAL_EPOCH_ROUNDS,
        None,
        scheme=scheme,
        parameter_set=fitting_parameters(PARAMETERS, HOSPITALS),
    )
    set_up, of_round = set_up_traffic(shape), round_traffic(shape)
    up = (of_round.bytes_up + set_up.bytes_up / shape.rounds) / PARAMETERS
    down = (of_round.bytes_down + set_up.bytes_down / shape.rounds) / PARAMETERS
    rows = BENCHMARKS.read_text(encoding="utf-8").partition("| encrypted, up / down")[2].splitlines()[:3]
    (row,) = (row for row in rows if f"`{scheme}`" in row)
    assert re.search(r"\| (\d+\.\d\d / \d+\.\d\d) \| exact", row)[1] == f"{up:.2f} / {down:.2f}"
