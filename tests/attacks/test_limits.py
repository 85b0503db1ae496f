"""What the documents say is not prevented, shown: an attack that succeeds on the real build."""

from __future__ import annotations

import numpy as np
import pytest

from secagg.masking import MaskingClient
from training.attacks.coordinator import LyingCoordinator
from training.attacks.ward import Ward

VICTIM = 1


@pytest.fixture
def sent(monkeypatch):
    """What each hospital masked last, by number."""
    vectors = {}

    class Recording(MaskingClient):
        def mask(self, vector, *more):
            vectors[self.number] = vector.copy()
            return super().mask(vector, *more)

    monkeypatch.setattr("training.hospital.MaskingClient", Recording)
    return vectors


def test_limit_sums_of_two_steps_over_other_cohorts_show_an_update_roughly(tmp_path, sent):
    """Both sums are ones that the charter allows. The record count does not change from step to step, and is exact."""
    with Ward.open(tmp_path, standardise="none") as ward:
        coordinator = LyingCoordinator(ward.charter, dict(ward.parties))
        coordinator.set_up()
        nothing = ward.nothing_to_mask()
        with_victim = coordinator.sum_over(nothing, coordinator.everybody)
        truth = coordinator.session.ring.to_signed(sent[VICTIM])
        message = coordinator.honest_sum(coordinator.everybody)
        for party in ward.parties.values():
            party.receive(message)
        without_victim = coordinator.sum_over(nothing, coordinator.all_but(VICTIM), step=2)
        difference = with_victim - without_victim
    *update, weight = truth
    *guess, guessed_weight = difference
    assert guessed_weight == weight
    assert not np.equal(guess, update).any()
    assert np.dot(guess, update) / np.linalg.norm(guess) / np.linalg.norm(update) > 0.9
