"""A draft holds what was chosen, and what follows from it."""

from __future__ import annotations

import pytest

from secagg.charter import Member
from secagg.charter.sections import ENCRYPTED_SCHEMES
from secagg.errors import InputError
from secagg.graph import COMPLETE_UP_TO
from secagg.homomorphic.parameters import DEFAULT_PARAMETERS
from secagg.identity import Identity
from tests.support.hospitals import BOUNDED, choices_of, tabular_spec, training_of
from training.draft import draft_charter
from training.noise import require_same_noise
from training.tasks.spec import TaskSpec

MEMBERS = [Member(name=f"h{number}", public_key=Identity.generate().public_key) for number in range(1, 761)]
SMALL = tabular_spec()
PRIVATE = {"privacy": "local", "epsilon": 3.0, "sampling_rate": 0.5}


def with_hidden(width: int) -> TaskSpec:
    """A task with 2 inputs and a network of 4 ``width`` + 1 parameters."""
    spec = tabular_spec()
    text = spec.settings_json().replace(b'"logistic"', b'"mlp"').replace(b'"hidden":[32]', b'"hidden":[%d]' % width)
    return TaskSpec.from_settings(spec.kind, text)


def drafted(members: int = 4, spec: TaskSpec = SMALL, **choices: object):
    return draft_charter(choices_of(**choices), MEMBERS[:members], spec)


def test_without_a_choice_updates_are_masked():
    assert drafted().scheme == "mask"


@pytest.mark.parametrize("scheme", sorted(ENCRYPTED_SCHEMES))
def test_the_scheme_is_the_chosen_one(scheme):
    assert drafted(scheme=scheme).scheme == scheme


@pytest.mark.parametrize(
    ("width", "expected"), [(24_999, "n4096-q60"), (25_000, "n8192-q60")], ids=["99,997", "100,001"]
)
def test_a_large_model_gets_the_larger_ring(width, expected):
    charter = drafted(spec=with_hidden(width), scheme="double-lock")
    assert charter.model.parameters == 4 * width + 1
    assert charter.homomorphic.parameters == expected


def test_a_large_model_that_is_only_masked_has_the_parameters_of_every_masked_charter():
    assert drafted(spec=with_hidden(25_000)).homomorphic.parameters == DEFAULT_PARAMETERS


def test_parameters_may_be_chosen():
    assert drafted(scheme="bfv", homomorphic="n8192-q60").homomorphic.parameters == "n8192-q60"


def test_parameters_that_nobody_knows_to_be_secure_are_refused():
    with pytest.raises(InputError) as caught:
        drafted(scheme="bfv", homomorphic="n1024-q60")
    assert caught.value.reason == "unlisted-parameters"


def test_parameters_where_nothing_is_encrypted_are_refused():
    with pytest.raises(InputError) as caught:
        drafted(homomorphic="n8192-q60")
    assert caught.value.reason == "nothing-encrypted"
    assert "double-lock" in caught.value.remedy


@pytest.mark.parametrize(("members", "width", "bits"), [(8, 300_000, 24), (5, 2_750_000, 32)], ids=["1.2 M", "11 M"])
def test_noise_is_sized_for_the_ring_that_the_charter_names(members, width, bits):
    charter = drafted(members, with_hidden(width), privacy="distributed", epsilon=0.3, expected_batch=256)
    assert charter.encoding.field_bits == bits
    require_same_noise(charter)


def test_differential_privacy_of_patients_who_move_each_other_is_refused():
    stratified = tabular_spec(test_fraction=0.25, division="stratified")
    assert drafted(spec=stratified).privacy.mode == "none"
    with pytest.raises(InputError) as caught:
        drafted(spec=stratified, privacy="local")
    assert caught.value.reason == "division-not-private"


@pytest.mark.parametrize(("members", "parameters"), [(759, "n4096-q60"), (760, "n8192-q60")])
def test_so_many_hospitals_that_they_could_tell_half_of_a_secret_take_a_larger_one(members, parameters):
    charter = drafted(members, scheme="double-lock")
    assert charter.homomorphic.parameters == parameters
    chosen = {"scheme": "double-lock", "homomorphic": "n4096-q60"}
    assert drafted(members, **chosen).homomorphic.parameters == "n4096-q60"


def test_above_a_hundred_hospitals_only_masks_have_a_neighbour_graph():
    assert drafted(COMPLETE_UP_TO + 1, dropout=0.0).graph.degree > 0
    for scheme in ENCRYPTED_SCHEMES:
        assert drafted(COMPLETE_UP_TO + 1, dropout=0.0, scheme=scheme).graph.degree == 0


@pytest.mark.parametrize(
    ("metrics", "bins"), [({}, 64), ({"metrics": "exact"}, 64), (PRIVATE | {"metrics": "noisy"}, 16)]
)
def test_noisy_counts_have_fewer_bins_unless_the_task_says_how_many(metrics, bins):
    spec = tabular_spec(metric="auc", **BOUNDED)
    charter = drafted(spec=spec, **metrics)
    assert charter.task.settings["evaluation"]["bins"] == bins
    assert charter.metrics.cells == (2 * bins if metrics else 0)
    own = tabular_spec(metric="auc", bins=32, **BOUNDED)
    assert drafted(spec=own, **metrics).task.settings["evaluation"]["bins"] == 32


def test_counts_that_no_noise_brings_within_epsilon_beside_the_training_are_refused():
    """Gaussian noise beyond a limit counts as that much: here either alone is within epsilon, and both never are."""
    choices = {"training": training_of(rounds=20_000, local_steps=1), "sampling_rate": 1e-4, "epsilon": 0.05}
    assert drafted(privacy="local", **choices).privacy.noise_multiplier > 0
    with pytest.raises(InputError) as caught:
        drafted(privacy="local", metrics="noisy", **choices)
    assert caught.value.reason == "unreachable-epsilon"
