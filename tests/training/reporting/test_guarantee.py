"""What a charter promises patients is never told as less than it costs."""

from __future__ import annotations

import math
import re

import pytest

from secagg.charter import Privacy, Training
from tests.support.consortium import make_charter, make_identities
from training.reporting.guarantee import _plain

IDENTITIES = make_identities(4)
UNIFORM = Training(rounds=3, weighting="uniform")
LOCAL = make_charter(IDENTITIES, training=UNIFORM, privacy=Privacy(mode="local", noise_multiplier=1.0, budget=8.0))


@pytest.mark.parametrize("epsilon", [0.004, 0.04, 0.3, 2.174490, 5.3, 12.0])
def test_epsilon_and_the_change_of_odds_are_at_least_the_true_ones(epsilon):
    told = re.search(r"here ([0-9.]+): .* a factor of at most ([0-9.,]+) through", _plain(LOCAL, epsilon, 1e-5))
    assert epsilon <= float(told[1]) < epsilon + 0.01
    assert math.exp(epsilon) <= float(told[2].replace(",", "")) <= 1.01 * math.exp(epsilon)
