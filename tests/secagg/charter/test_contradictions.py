"""A charter that contradicts itself cannot be made."""

from __future__ import annotations

import msgspec
import pytest

from secagg.charter import Metrics, Privacy, Statistics, Training
from secagg.errors import InputError
from secagg.identity import Identity
from tests.support.consortium import make_charter, make_identities

IDENTITIES = make_identities(5)
NOISY = Privacy(mode="local", noise_multiplier=1.0, metric_noise_multiplier=1.0, budget=4.0)
UNIFORM = Training(rounds=3, weighting="uniform")


def reason(**changes: object) -> str:
    with pytest.raises(InputError) as caught:
        make_charter(IDENTITIES, **changes)
    assert caught.value.exit_code == 2
    return caught.value.reason


def members_with(**change: object) -> tuple:
    members = make_charter(IDENTITIES).members
    return (members[0], msgspec.structs.replace(members[1], **change), *members[2:])


def test_the_default_charter_of_the_tests_is_accepted():
    assert make_charter(IDENTITIES).threshold == 4


def test_two_members_with_one_name_or_one_key_are_refused():
    assert reason(members=members_with(name="h1")) == "duplicate-member"
    assert reason(members=members_with(public_key=IDENTITIES[0].public_key)) == "duplicate-member"


def test_a_member_with_a_key_that_anybody_can_sign_for_is_refused_by_name():
    with pytest.raises(InputError) as caught:
        make_charter(IDENTITIES, members=members_with(public_key=bytes(32)))
    assert (caught.value.reason, caught.value.culprit) == ("weak-identity", "h2")


def test_names_that_differ_in_capitals_only_stay_valid_in_a_charter_that_has_them():
    """Drafting refuses them."""
    assert make_charter(IDENTITIES, members=members_with(name="H1")).members[1].name == "H1"


def of_one_fingerprint(count=2):
    """Different keys, whose fingerprints of one character are the same."""
    found = {}
    for seed in range(1, 256):
        identity = Identity.from_seed(bytes([seed] * 32))
        same = found.setdefault(identity.fingerprint, [])
        same.append(identity)
        if len(same) == count:
            return same
    raise AssertionError("no two are the same")


def test_two_members_with_one_fingerprint_are_refused(monkeypatch):
    monkeypatch.setattr("secagg.identity._FINGERPRINT_CHARACTERS", 1)
    twins = of_one_fingerprint()
    assert twins[0].public_key != twins[1].public_key
    others = {identity.fingerprint: identity for identity in IDENTITIES if identity.fingerprint != twins[0].fingerprint}
    members = [*twins, *list(others.values())[:2]]
    with pytest.raises(InputError) as caught:
        make_charter(members)
    assert caught.value.reason == "duplicate-member"
    assert "the same fingerprint" in caught.value.message


def test_control_with_fingerprints_of_full_length_the_same_keys_are_two_members(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("secagg.identity._FINGERPRINT_CHARACTERS", 1)
        twins = of_one_fingerprint()
    members = [*twins, *IDENTITIES[:2]]
    assert len(make_charter(members, threshold=4).members) == 4


def test_a_consortium_of_two_is_refused():
    with pytest.raises(InputError) as caught:
        make_charter(IDENTITIES[:2], max_colluding=0, threshold=2)
    assert caught.value.reason == "too-few-members"
    assert "this one 2" in caught.value.message
    assert make_charter(IDENTITIES[:3], threshold=3)


@pytest.mark.parametrize("threshold", [2, 3, 6])
def test_a_threshold_outside_the_safe_range_is_refused(threshold):
    assert reason(threshold=threshold) == "unsafe-threshold"


@pytest.mark.parametrize("threshold", [4, 5])
def test_a_threshold_within_the_safe_range_is_accepted(threshold):
    assert make_charter(IDENTITIES, threshold=threshold).threshold == threshold


def test_more_colluders_than_any_threshold_can_bear_are_refused():
    assert reason(max_colluding=4, threshold=5) == "too-many-colluding"
    assert make_charter(IDENTITIES, max_colluding=3, threshold=5).max_colluding == 3


def test_differential_privacy_without_noise_is_refused():
    assert reason(privacy=Privacy(mode="local"), training=UNIFORM) == "no-noise"
    assert make_charter(IDENTITIES, privacy=NOISY, training=UNIFORM).privacy is NOISY


def test_differential_privacy_with_exact_record_counts_is_refused():
    assert reason(privacy=NOISY) == "weights-not-private"


def test_differential_privacy_with_exact_statistics_is_refused():
    assert reason(privacy=NOISY, training=UNIFORM, statistics=Statistics(features=3)) == "statistics-not-private"
    assert make_charter(IDENTITIES, statistics=Statistics(features=3)).statistics.features == 3


@pytest.mark.parametrize(
    ("metrics", "privacy", "expected"),
    [
        (Metrics(release="exact", cells=0), Privacy(), "metrics-contradict"),
        (Metrics(release="none", cells=4), Privacy(), "metrics-contradict"),
        (Metrics(release="exact", cells=4), NOISY, "metrics-not-private"),
        (Metrics(release="noisy", cells=4), Privacy(), "metrics-contradict"),
        (
            Metrics(release="noisy", cells=4),
            msgspec.structs.replace(NOISY, metric_noise_multiplier=0.0),
            "metrics-contradict",
        ),
        (Metrics(target=0.9), Privacy(), "target-without-metrics"),
    ],
)
def test_metrics_that_contradict_themselves_or_the_privacy_are_refused(metrics, privacy, expected):
    assert reason(metrics=metrics, privacy=privacy, training=UNIFORM) == expected


@pytest.mark.parametrize(
    ("metrics", "privacy"),
    [(Metrics(release="exact", cells=4, target=0.9), Privacy()), (Metrics(release="noisy", cells=4), NOISY)],
)
def test_metrics_that_agree_with_the_privacy_are_accepted(metrics, privacy):
    assert make_charter(IDENTITIES, metrics=metrics, privacy=privacy, training=UNIFORM).metrics is metrics


STEP = Training(rounds=3, local_steps=1, weighting="uniform")


def shared(*levels: int, **changes: object) -> Privacy:
    digest = bytes(32) if levels else b""
    settings = {"mode": "distributed", "noise_multiplier": 1.0, "noise_levels": levels, "noise_digest": digest}
    return Privacy(**(settings | changes))


@pytest.mark.parametrize("levels", [(), (5,)])
def test_distributed_privacy_with_falling_levels_is_accepted(levels):
    assert make_charter(IDENTITIES, privacy=shared(*levels), training=STEP).privacy.noise_levels == levels


@pytest.mark.parametrize("levels", [(4,), (6,), (5, 5), (4, 5)])
def test_levels_that_do_not_fall_from_all_members_to_above_the_threshold_are_refused(levels):
    assert reason(privacy=shared(*levels), training=STEP) == "noise-levels-contradict"


@pytest.mark.parametrize(
    "privacy",
    [
        shared(5, noise="discrete-gaussian"),
        shared(5, noise_digest=b""),
        shared(5, noise_digest=bytes(31)),
        shared(noise_digest=bytes(32)),
        Privacy(mode="local", noise_multiplier=1.0, noise_levels=(5,), noise_digest=bytes(32)),
    ],
)
def test_levels_that_noise_cannot_come_off_in_are_refused(privacy):
    assert reason(privacy=privacy, training=STEP) == "noise-levels-contradict"


def test_where_sums_are_encrypted_no_noise_comes_off():
    assert reason(scheme="double-lock", privacy=shared(5), training=STEP) == "noise-levels-contradict"
    assert make_charter(IDENTITIES, scheme="double-lock", privacy=shared(), training=STEP)


@pytest.mark.parametrize("scheme", ["bfv", "ckks"])
def test_noise_is_not_shared_out_where_one_hospital_opens_every_vector(scheme):
    assert reason(scheme=scheme, privacy=shared(), training=STEP) == "noise-not-shared"


@pytest.mark.parametrize("change", [{"local_steps": 2}, {"momentum": 0.5}, {"weight_decay": 0.1}, {"prox_mu": 0.1}])
def test_where_a_sum_is_a_step_no_hospital_takes_steps_of_its_own(change):
    training = msgspec.structs.replace(STEP, **change)
    assert reason(privacy=shared(), training=training) == "steps-contradict"


def test_distributed_privacy_needs_noise_and_uniform_weights():
    assert reason(privacy=shared(noise_multiplier=0.0), training=STEP) == "no-noise"
    assert reason(privacy=shared(), training=Training(rounds=3, local_steps=1)) == "weights-not-private"
