"""The noise that a charter sets: how much each hospital adds, and that all draw the same of one key."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np
import pytest

from secagg.charter import Member, NeighbourGraph
from secagg.errors import InputError
from tests.support.consortium import make_identities
from tests.support.hospitals import BOUNDED, choices_of, tabular_spec, training_of
from training.draft import draft_charter
from training.noise import ShareOfNoise, noise_digest, noise_expansion, noise_shares, require_same_noise

MEMBERS = [Member(name=f"h{number}", public_key=key.public_key) for number, key in enumerate(make_identities(6), 1)]


def charter(**changes: object):
    settings = {"privacy": "distributed", "epsilon": 3.0, "sampling_rate": 0.5, "expected_batch": 20, "dropout": 0.2}
    return draft_charter(choices_of(training_of(), **(settings | changes)), MEMBERS, tabular_spec(**BOUNDED))


def test_the_noise_of_one_hospital_is_never_counted():
    alone, one = charter(max_colluding=0, threshold=4), charter(max_colluding=1, threshold=4)
    assert noise_shares(alone).cohort.colluding == noise_shares(one).cohort.colluding == 1
    assert noise_shares(alone).cohort.shares == noise_shares(one).cohort.shares


def test_levels_follow_from_the_expected_drop_out():
    assert charter().privacy.noise_levels == (5,)
    assert charter(scheme="double-lock").privacy.noise_levels == ()
    assert charter(noise="discrete-gaussian").privacy.noise_levels == ()
    assert charter(noise_levels=()).privacy.noise_levels == ()


def test_where_a_coordinator_can_choose_who_is_in_a_sum_noise_is_shared_among_the_fewest_that_it_can_leave_in_it():
    drafted = charter(threshold=6, noise_levels=())
    assert noise_shares(drafted).cohort.threshold == 6
    neighbours = msgspec.structs.replace(drafted, graph=NeighbourGraph(degree=4, threshold=3))
    assert noise_shares(neighbours).cohort.threshold == 4


def test_one_key_draws_one_noise_and_another_component_another():
    noise = ShareOfNoise(charter(noise_levels=(6, 5)))
    key = bytes(range(32))
    assert (noise(key, 1) == noise(key, 1)).all()
    assert (noise(key, 1) != noise(key, 2)).any()
    assert noise(key, 1).dtype == np.uint32
    assert noise(key, 1)[noise.shares.dimension] == 0


def test_who_draws_other_noise_than_the_charter_says_is_told_so():
    drafted = charter()
    require_same_noise(drafted)
    privacy = msgspec.structs.replace(drafted.privacy, noise_digest=bytes(32))
    with pytest.raises(InputError) as caught:
        noise_expansion(msgspec.structs.replace(drafted, privacy=privacy))
    assert caught.value.reason == "other-noise"


def test_who_makes_tags_otherwise_is_told_so(monkeypatch):
    drafted = charter()
    monkeypatch.setattr("training.noise._TAGS", b"noise tag of another release")
    with pytest.raises(InputError) as caught:
        require_same_noise(drafted)
    assert caught.value.reason == "other-noise"


@pytest.mark.parametrize("levels", [(5,), (6, 5)])
def test_each_component_that_can_be_removed_is_compared(levels):
    shares = noise_shares(charter(noise_levels=levels))
    one_less = replace(shares, cohort=replace(shares.cohort, levels=levels[:-1]))
    more_noise = replace(shares, noise_multiplier=2 * shares.noise_multiplier)
    assert len({noise_digest(one) for one in (shares, one_less, more_noise)}) == 3
    assert (noise_digest(one_less) == b"") == (len(levels) == 1)
