"""What a charter allows and its signers must know is told of exactly the charters that allow it."""

from __future__ import annotations

import pytest

from secagg.charter import Encoding, Model, Privacy, Training
from secagg.charter.cautions import SHARED_KEY_SCHEMES, cautions, large_delta, shared_key
from secagg.charter.sections import ENCRYPTED_SCHEMES, ServerStep, TaskChoice
from secagg.charter.thresholds import smallest_threshold
from secagg.graph import COMPLETE_UP_TO
from tests.support.consortium import make_charter, make_identities
from training.server_optimizer import learning_rate

FEW = make_identities(5)
MANY = make_identities(COMPLETE_UP_TO + 1)


def codes(identities, **changes) -> list[str]:
    threshold = smallest_threshold(len(identities), 1)
    charter = make_charter(identities, max_colluding=1, threshold=threshold, **changes)
    return [caution.code for caution in cautions(charter)]


@pytest.mark.parametrize(
    ("scheme", "expected"), [("mask", []), ("double-lock", []), ("bfv", ["shared-key"]), ("ckks", ["shared-key"])]
)
def test_one_key_for_all_is_told_of_bfv_and_ckks_alone(scheme, expected):
    assert codes(FEW, scheme=scheme) == expected


@pytest.mark.parametrize(
    ("scheme", "expected"),
    [("mask", []), ("double-lock", ["all-with-all"]), ("bfv", ["shared-key", "all-with-all"])],
)
def test_above_a_hundred_hospitals_who_encrypts_is_told_that_all_have_to_do_with_all(scheme, expected):
    assert codes(MANY, scheme=scheme) == expected


def test_up_to_a_hundred_hospitals_all_have_to_do_with_all_anyway():
    assert codes(MANY[:-1], scheme="double-lock") == []


def test_the_weakness_says_who_reads_what_and_names_the_remedy():
    assert SHARED_KEY_SCHEMES < ENCRYPTED_SCHEMES
    for scheme in SHARED_KEY_SCHEMES:
        told = shared_key(scheme)
        assert scheme in told.message
        assert "any one of them reads every hospital's update" in told.message
        assert "double-lock" in told.remedy
        assert told.told() == f"{told.message} {told.remedy} [shared-key]"


def test_how_many_messages_a_set_up_takes_is_in_the_text():
    threshold = smallest_threshold(len(MANY), 1)
    (told,) = cautions(make_charter(MANY, max_colluding=1, threshold=threshold, scheme="double-lock"))
    assert "101 hospitals" in told.message
    assert "all 100 others" in told.message
    assert "10100 messages" in told.message


# --- A start that somebody made ------------------------------------------------------------------------------

PRETRAINED = {"model": {"name": "mlp", "backbone": "net.safetensors", "backbone_sha256": "0" * 64}}
PRIVATE = {
    "privacy": Privacy(mode="local", noise_multiplier=1.0),
    "training": Training(rounds=1, local_steps=1, weighting="uniform"),
}


@pytest.mark.parametrize(
    ("task", "named"),
    [
        (TaskChoice(kind="tabular-classification", settings=PRETRAINED), "the backbone net.safetensors"),
        (TaskChoice(kind="wards.sepsis:task", settings={}), "the code of the task wards.sepsis:task"),
    ],
    ids=["backbone", "custom task"],
)
def test_a_start_that_somebody_made_is_told_where_there_is_no_differential_privacy(task, named):
    (told,) = cautions(make_charter(FEW, max_colluding=1, threshold=4, task=task))
    assert told.code == "chosen-start"
    assert f"starts from {named}, without differential privacy" in told.message
    assert codes(FEW, task=task, **PRIVATE) == []


@pytest.mark.parametrize("settings", [{}, {"model": {"name": "mlp"}}, {"model": "mlp"}])
def test_a_start_from_the_seed_is_nobodys(settings):
    assert codes(FEW, task=TaskChoice(kind="image-classification", settings=settings)) == []


# --- A grid too coarse for updates ---------------------------------------------------------------------------

NARROW = Encoding(field_bits=16, max_weight=1024)
SMALL = Model(digest=bytes(32), parameters=31)
LARGE = Model(digest=bytes(32), parameters=1_000_000)


def test_a_grid_on_which_a_small_hospitals_update_is_lost_is_told_with_the_patients_that_are_enough():
    thirty = make_identities(30)
    charter = make_charter(thirty, max_colluding=1, threshold=16, encoding=NARROW, model=SMALL)
    (told,) = cautions(charter)
    assert told.code == "coarse-grid"
    assert "30 hospitals, 16 bits and a max_weight of 1024" in told.message
    # 30 / 32767 of update_norm, times 1024 / 53 for its weight, is a tenth of it over sqrt(31).
    assert "fewer than 53 patients" in told.message


@pytest.mark.parametrize(
    "finer",
    [
        {"encoding": Encoding(field_bits=24, max_weight=1024)},
        {"encoding": Encoding(field_bits=16, max_weight=16)},
        # All count as the largest then, so that nobody's grid is coarser.
        {"encoding": NARROW, "training": Training(rounds=1, weighting="uniform")},
    ],
    ids=["more bits", "smaller weight", "equal weights"],
)
def test_with_more_bits_or_weights_near_the_patients_nothing_is_lost(finer):
    assert codes(make_identities(30), model=SMALL, **finer) == []


def test_where_all_count_the_same_no_number_of_patients_is_enough():
    alike = {"encoding": NARROW, "training": Training(rounds=1, weighting="uniform")}
    (told,) = cautions(make_charter(FEW, max_colluding=1, threshold=4, model=LARGE, **alike))
    assert "an update of any hospital is lost" in told.message


@pytest.mark.parametrize(("mode", "expected"), [("local", ["coarse-grid"]), ("distributed", [])])
def test_gradients_with_shared_noise_are_rounded_on_a_grid_of_their_own(mode, expected):
    step = Training(rounds=1, local_steps=1, weighting="uniform")
    private = {"privacy": Privacy(mode=mode, noise_multiplier=1.0), "training": step}
    assert codes(FEW, model=LARGE, encoding=NARROW, **private) == expected


@pytest.mark.parametrize(("warm_up", "expected"), [(0, []), (2, []), (3, ["warm-up-too-long"])])
def test_a_learning_rate_that_rises_to_the_end_never_comes_to_what_is_set(warm_up, expected):
    server = ServerStep(learning_rate=0.5, warm_up=warm_up)
    assert codes(FEW, training=Training(rounds=3, server=server)) == expected
    assert (max(learning_rate(server, step, 3) for step in range(3)) < 0.5) is bool(expected)


@pytest.mark.parametrize(
    ("delta", "patients", "told"),
    [(0.0099, 120, True), (0.005, 200, True), (0.0099, 101, False), (1e-5, 99_999, False)],
)
def test_a_delta_of_one_over_the_patients_or_more_is_told(delta, patients, told):
    found = large_delta(delta, patients)
    assert [caution.code for caution in found] == ["delta-too-large"] * told
    if told:
        assert f"with {patients} patients" in found[0].message
        suggested = float(found[0].remedy.rstrip(".").split()[-1])
        assert large_delta(suggested, patients) == ()
