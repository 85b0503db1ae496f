"""How long messages are on the way."""

from __future__ import annotations

import pytest

from secagg.masking.sizes import Traffic
from training.costs.links import Link, Network, transfer_time

TRAFFIC = Traffic(2, 3, 1_000_000, 2_000_000)
WIDE = Link(1e12, 1e12)


def test_a_hospitals_line_carries_its_bytes_and_each_answer_is_waited_for():
    network = Network(Link(16e6, 2e6), WIDE, 0.04)
    assert transfer_time(TRAFFIC, 4, network) == pytest.approx(8 / 2 + 16 / 16 + 3 * 0.04)


def test_the_coordinators_line_carries_those_of_all():
    network = Network(WIDE, Link(1e9, 1e9), 0.0)
    assert transfer_time(TRAFFIC, 500, network) == pytest.approx(500 * 24e6 / 1e9)
