"""Which of two policies allows more, key by key."""

from __future__ import annotations

import msgspec
import pytest

from secagg.identity import Identity, fingerprint
from secagg.policy import Policy
from secagg.policy.loosening import LOOSER, loosenings, shown
from secagg.policy.model import Countersigning

KEYS = [Identity.from_seed(bytes([seed] * 32)).public_key for seed in range(1, 5)]
BEFORE = Policy(
    known_members=frozenset({"A", "B"}),
    minimum_cohort=5,
    minimum_honest=4,
    release_exact_metrics="refuse",
    countersigning=Countersigning(officers=frozenset(KEYS[:3])),
)
LOOSENED = {
    "known_members": frozenset({"A", "B", "C"}),
    "minimum_cohort": 4,
    "minimum_honest": 3,
    "allowed_schemes": frozenset({"mask", "bfv"}),
    "allowed_privacy_modes": frozenset({"none"}),
    "maximum_epsilon": 8.01,
    "maximum_delta": 1.1e-5,
    "maximum_weight": 10_001,
    "allowed_tasks": frozenset({"mine:build"}),
    "release_exact_metrics": "allow",
    "countersigning": None,
}
TIGHTENED = {
    "known_members": frozenset({"A"}),
    "minimum_cohort": 6,
    "minimum_honest": 5,
    "allowed_schemes": frozenset({"double-lock"}),
    "allowed_privacy_modes": frozenset({"local"}),
    "maximum_epsilon": 7.99,
    "maximum_delta": 1e-6,
    "maximum_weight": 1,
    "allowed_tasks": frozenset(),
}


def test_every_key_of_a_policy_has_a_rule_and_a_case_here():
    assert set(LOOSER) == set(Policy.__struct_fields__) == set(LOOSENED)


@pytest.mark.parametrize(("key", "value"), LOOSENED.items(), ids=list(LOOSENED))
def test_a_key_that_allows_more_is_named(key, value):
    (found,) = loosenings(BEFORE, msgspec.structs.replace(BEFORE, **{key: value}))
    assert found.key == key
    assert found.before != found.after


@pytest.mark.parametrize(("key", "value"), TIGHTENED.items(), ids=list(TIGHTENED))
def test_a_key_that_allows_less_is_no_loosening(key, value):
    assert loosenings(BEFORE, msgspec.structs.replace(BEFORE, **{key: value})) == ()


def test_a_swap_of_one_scheme_for_another_is_a_loosening():
    after = msgspec.structs.replace(BEFORE, allowed_schemes=frozenset({"ckks"}))
    assert [entry.key for entry in loosenings(BEFORE, after)] == ["allowed_schemes"]


@pytest.mark.parametrize("officers", [KEYS[:2], KEYS, KEYS[1:]], ids=["one less", "one more", "another"])
def test_any_change_of_the_officers_is_a_loosening(officers):
    after = msgspec.structs.replace(BEFORE, countersigning=Countersigning(officers=frozenset(officers)))
    assert [entry.key for entry in loosenings(BEFORE, after)] == ["countersigning"]


def test_an_epsilon_that_is_no_number_never_passes_for_less():
    after = msgspec.structs.replace(BEFORE, maximum_epsilon=float("nan"))
    assert [entry.key for entry in loosenings(BEFORE, after)] == ["maximum_epsilon"]


def test_officers_are_shown_by_their_fingerprints():
    told = shown(Countersigning(officers=frozenset(KEYS[:2])))
    assert told == f"2 of 2 officers ({', '.join(sorted(map(fingerprint, KEYS[:2])))})"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (
            {"countersigning": Countersigning(officers=frozenset(KEYS[:3]))},
            {"countersigning": Countersigning(officers=frozenset(KEYS[1:]))},
        ),
        ({"maximum_epsilon": 8.0}, {"maximum_epsilon": 8.0000004}),
        ({"maximum_weight": 10_000}, {"maximum_weight": 10_001}),
    ],
)
def test_what_differs_is_not_shown_alike(before, after):
    (found,) = loosenings(msgspec.structs.replace(BEFORE, **before), msgspec.structs.replace(BEFORE, **after))
    assert found.before != found.after


def test_nothing_of_a_policy_acts_on_the_terminal_of_who_reads_it():
    assert shown(frozenset({"A\x1b[2J", "B\u202e"})) == "A\ufffd[2J, B\ufffd"
