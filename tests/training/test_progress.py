"""When a training ends, as every hospital computes it from the sums that it applied."""

from __future__ import annotations

import numpy as np
import pytest

from secagg.charter import Charter, Member
from tests.support.consortium import make_identities
from tests.support.hospitals import BOUNDED, choices_of, tabular_spec, training_of
from training.draft import draft_charter, task_of
from training.hospital_state import AppliedSum, Progress
from training.noise import ShareOfNoise, count_variance
from training.progress import is_finished, latest_metrics

MEMBERS = [Member(name=f"h{number}", public_key=key.public_key) for number, key in enumerate(make_identities(6), 1)]
EVERYBODY = tuple(range(1, 7))
NOISY = {"privacy": "local", "epsilon": 3.0, "sampling_rate": 0.5, "metrics": "noisy"}
SHARED = NOISY | {"privacy": "distributed", "expected_batch": 20, "noise_levels": (6, 5), "threshold": 4}


def charter_of(**choices: object) -> Charter:
    spec = tabular_spec(**BOUNDED, metric="auc", bins=4)
    return draft_charter(choices_of(training_of(rounds=10), **choices), MEMBERS, spec)


def progress_of(*released: tuple[int, ...]) -> Progress:
    applied = [AppliedSum(number, EVERYBODY, cells) for number, cells in enumerate(released, 1)]
    return Progress("", tuple(applied))


def finished(charter: Charter, *released: tuple[int, ...]) -> bool:
    return is_finished(charter, task_of(charter).spec, progress_of(*released))


GOOD, BAD = (900, 50, 40, 10, 10, 40, 50, 900), (900, 50, 40, 10, 900, 40, 50, 10)
HIDDEN = (1, 0, 0, 0, 0, 0, 0, 1)


@pytest.mark.parametrize("privacy", [NOISY, SHARED, {"metrics": "exact"}])
def test_a_training_ends_once_its_target_is_reached(privacy):
    charter = charter_of(**privacy, target=0.9)
    assert not finished(charter, BAD)
    assert finished(charter, BAD, GOOD)
    # No counts with the last sum: those before hold.
    assert finished(charter, GOOD, ())


@pytest.mark.parametrize("privacy", [NOISY, SHARED])
def test_a_training_goes_on_where_noise_hides_how_good_its_model_is(privacy):
    charter = charter_of(**privacy, target=0.9)
    spec = task_of(charter).spec
    assert latest_metrics(charter, spec, progress_of(HIDDEN)).auc is None
    assert not finished(charter, HIDDEN)
    assert not finished(charter, GOOD, HIDDEN)
    assert finished(charter, HIDDEN, GOOD)


def test_control_the_same_counts_without_noise_end_it():
    assert finished(charter_of(metrics="exact", target=0.9), HIDDEN)


@pytest.mark.parametrize("survivors", [6, 5, 4])
def test_the_noise_on_a_count_is_as_large_as_hospitals_draw_it(survivors):
    charter = charter_of(**SHARED)
    noise = ShareOfNoise(charter)
    kept = 1 + sum(level > survivors for level in charter.privacy.noise_levels)
    generator = np.random.default_rng(1)
    drawn = sum(
        np.stack([noise.drawn(component, generator)[-8:] for _ in range(400)])
        for component in range(kept)
        for _ in range(survivors)
    )
    assert drawn.var() == pytest.approx(count_variance(charter, survivors), rel=0.1)


def test_where_each_hospital_adds_the_whole_noise_their_variances_add_up():
    charter = charter_of(**NOISY)
    assert count_variance(charter, 4) == pytest.approx(4 * charter.privacy.metric_noise_multiplier**2)
    assert count_variance(charter_of(metrics="exact"), 4) == 0
