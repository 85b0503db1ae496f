"""What the documents say is not prevented, shown: an attack that succeeds on the real build."""

from __future__ import annotations

import numpy as np
import pytest

from secagg.masking import MaskingClient
from training.attacks.coordinator import LyingCoordinator
from training.attacks.ward import Ward

VICTIM, LIAR = 1, 2
# More than any hospital of the ward has patients: each trains on all of them in every step, always in the same way.
WHOLE = 64
# In steps of the grid: sums of the same numbers in another order.
ROUNDING = 4


@pytest.fixture
def lies():
    """By round, what makes another of the liar's vector, as signed integers."""
    return {}


@pytest.fixture
def sent(monkeypatch, lies):
    """What each hospital masked last, by number."""
    vectors = {}

    class Recording(MaskingClient):
        def mask(self, vector, *more):
            if self.number == LIAR and self.round in lies:
                ring = self.session.ring
                vector = ring.from_signed(lies[self.round](ring.to_signed(vector)))
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


# --- A model that stays where it is --------------------------------------------------------------------------


@pytest.mark.parametrize("held", [1, 2], ids=["void", "void and then moved by the least there is"])
def test_limit_a_hospital_that_holds_the_model_still_sees_an_update_exactly(tmp_path, sent, lies, held):
    """It outweighs all others, so that the sum is void; then it sends the others' sum with another sign, and one more.

    Nothing of that is forged: every tag fits, the coordinator does what it should, and one hospital happens to be away.
    """
    with Ward.open(tmp_path, hospitals=6, standardise="none", batch_size=WHOLE) as ward:
        coordinator = LyingCoordinator(ward.charter, dict(ward.parties))
        coordinator.set_up()
        ring, nothing = coordinator.session.ring, ward.nothing_to_mask()

        def of_the_others(survivors, step):
            total = coordinator.sum_over(nothing, survivors, step)
            return total - ring.to_signed(sent[LIAR])

        def outweighing(vector):
            return np.append(vector[:-1], -ring.largest)

        def all_but_undoing(vector):
            return np.concatenate([[1 - with_victim[0]], -with_victim[1:-1], vector[-1:]])

        lies |= {1: outweighing, 2: all_but_undoing}
        before = model_of(ward)
        with_victim = of_the_others(coordinator.everybody, 1)
        truth = ring.to_signed(sent[VICTIM])
        apply_everywhere(ward, coordinator)
        assert np.array_equal(model_of(ward), before)
        if held == 2:
            of_the_others(coordinator.everybody, 2)
            apply_everywhere(ward, coordinator)
            # So that it would be of no use to ask whether two sums were taken from the same model.
            assert 0 < np.abs(model_of(ward) - before).max() < 1e-5
        difference = with_victim - of_the_others(coordinator.all_but(VICTIM), held + 1)
    np.testing.assert_allclose(difference, truth, rtol=0, atol=ROUNDING)
    assert difference[-1] == truth[-1]
    assert np.abs(truth).min() > 100 * ROUNDING


def model_of(ward):
    return ward.parties[VICTIM].hospital.state.model.copy()


def apply_everywhere(ward, coordinator):
    message = coordinator.honest_sum(coordinator.everybody, coordinator.round)
    for party in ward.parties.values():
        party.receive(message)
