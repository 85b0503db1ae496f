"""A site's policy refuses what it does not allow, each with its own reason, and the defaults are strict."""

from __future__ import annotations

import msgspec
import pytest

from secagg.charter import Encoding, Metrics, NeighbourGraph, Privacy, TaskChoice, Training
from secagg.charter.cautions import SHARED_KEY_SCHEMES
from secagg.charter.sections import SCHEMES
from secagg.errors import InputError, RefusedError
from secagg.graph import smallest_graph
from secagg.policy import Policy, check_charter, load_policy, render_policy
from secagg.policy.checks import CHECKS, refusals
from secagg.policy.needs import first_policy, needed_policy
from tests.support.consortium import make_charter, make_identities, open_policy

IDENTITIES = make_identities(6)
PRIVATE = Privacy(mode="local", noise_multiplier=1.0, budget=4.0, delta=1e-6)
CHARTER = make_charter(IDENTITIES, privacy=PRIVATE, training=Training(rounds=3, weighting="uniform"))
KNOWN = open_policy(CHARTER).known_members
STRICT = Policy(known_members=KNOWN)


def reason(charter, policy) -> str:
    with pytest.raises(RefusedError) as caught:
        check_charter(charter, policy)
    assert caught.value.exit_code == 3
    return caught.value.reason


def test_a_private_charter_among_known_members_is_allowed_by_the_defaults():
    check_charter(CHARTER, STRICT)


def test_the_defaults_refuse_every_charter_of_strangers():
    assert reason(CHARTER, Policy()) == "unknown-member"


def test_one_unknown_member_is_enough_and_is_named():
    with pytest.raises(RefusedError) as caught:
        check_charter(CHARTER, Policy(known_members=KNOWN - {sorted(KNOWN)[0]}))
    assert caught.value.reason == "unknown-member"
    assert caught.value.culprit in {member.name for member in CHARTER.members}


def test_a_threshold_that_is_raised_puts_no_more_honest_hospitals_into_a_sum_among_neighbours():
    """A lying coordinator leaves out of a sum whom it will: `exclusion-from-a-named-set`."""
    identities = make_identities(120)
    everybody = make_charter(identities, threshold=80, max_colluding=1)
    graph = smallest_graph(120, 1, 12)
    drawn = make_charter(identities, threshold=80, max_colluding=1, graph=NeighbourGraph.of(graph))
    policy = open_policy(drawn, minimum_honest=79)
    check_charter(everybody, policy)
    assert reason(drawn, policy) == "too-few-honest"
    more_than_half = 119 // 2 + 1
    assert needed_policy(drawn).minimum_honest == more_than_half
    check_charter(drawn, open_policy(drawn, minimum_honest=more_than_half))


REFUSED = [
    ({"minimum_cohort": 5}, {}, "cohort-too-small"),
    ({"minimum_honest": 4}, {}, "too-few-honest"),
    ({"allowed_schemes": frozenset({"double-lock"})}, {}, "scheme-not-allowed"),
    ({}, {"task": TaskChoice(kind="my.module:task", settings={})}, "task-not-allowed"),
    ({}, {"privacy": Privacy()}, "privacy-mode-not-allowed"),
    ({"maximum_epsilon": 3.9}, {}, "epsilon-too-large"),
    ({"maximum_delta": 1e-7}, {}, "delta-too-large"),
    ({}, {"encoding": Encoding(max_weight=10_001)}, "weight-too-large"),
    (
        {"allowed_privacy_modes": frozenset({"none"})},
        {"privacy": Privacy(), "metrics": Metrics(release="exact", cells=4)},
        "exact-metrics",
    ),
]

ACCEPTED = [
    ({"minimum_cohort": 4}, {}),
    ({"minimum_honest": 3}, {}),
    ({"allowed_schemes": frozenset({"double-lock", "mask"})}, {}),
    ({"allowed_tasks": frozenset({"my.module:task"})}, {"task": TaskChoice(kind="my.module:task", settings={})}),
    ({"allowed_privacy_modes": frozenset({"none", "local"})}, {"privacy": Privacy()}),
    ({"maximum_epsilon": 4.0}, {}),
    ({"maximum_delta": 1e-6}, {}),
    ({}, {"encoding": Encoding(max_weight=10_000)}),
    (
        {"allowed_privacy_modes": frozenset({"none"}), "release_exact_metrics": "allow"},
        {"privacy": Privacy(), "metrics": Metrics(release="exact", cells=4)},
    ),
]


@pytest.mark.parametrize(("limits", "changes", "expected"), REFUSED, ids=[case[2] for case in REFUSED])
def test_a_charter_beyond_one_limit_is_refused_for_that_limit(limits, changes, expected):
    charter = msgspec.structs.replace(CHARTER, **changes)
    assert reason(charter, msgspec.structs.replace(STRICT, **limits)) == expected


@pytest.mark.parametrize(("limits", "changes"), ACCEPTED, ids=[case[2] for case in REFUSED])
def test_a_charter_at_the_limit_or_allowed_by_name_is_accepted(limits, changes):
    check_charter(msgspec.structs.replace(CHARTER, **changes), msgspec.structs.replace(STRICT, **limits))


@pytest.mark.parametrize("scheme", ["mask", "double-lock"])
def test_the_defaults_allow_the_schemes_that_hold_against_colluding_hospitals(scheme):
    check_charter(msgspec.structs.replace(CHARTER, scheme=scheme), STRICT)


@pytest.mark.parametrize("scheme", ["bfv", "ckks"])
def test_a_scheme_with_one_key_for_all_must_be_allowed_by_name_and_the_refusal_names_a_better_one(scheme):
    charter = msgspec.structs.replace(CHARTER, scheme=scheme)
    with pytest.raises(RefusedError) as caught:
        check_charter(charter, STRICT)
    assert caught.value.reason == "scheme-not-allowed"
    assert "double-lock, mask only" in caught.value.message
    assert "colludes with any one of them reads every hospital's update" in caught.value.message
    assert caught.value.remedy.startswith("Choose the scheme double-lock")
    check_charter(charter, msgspec.structs.replace(STRICT, allowed_schemes=frozenset({scheme})))


def test_every_check_has_a_refusal_here():
    assert len({case[2] for case in REFUSED} | {"unknown-member"}) >= len(CHECKS)
    for check in CHECKS.values():
        refusing = [
            case
            for case in [*REFUSED, ({"known_members": frozenset()}, {}, "unknown-member")]
            if refuses(check, msgspec.structs.replace(CHARTER, **case[1]), msgspec.structs.replace(STRICT, **case[0]))
        ]
        assert refusing, check.__name__


def test_every_key_of_a_policy_but_who_signs_has_a_check():
    assert {*CHECKS, "countersigning"} == set(Policy.__struct_fields__)


def test_all_refusals_are_found_at_once_each_by_its_key():
    policy = msgspec.structs.replace(STRICT, minimum_cohort=5, maximum_epsilon=3.0)
    found = refusals(CHARTER, policy)
    assert {key: error.reason for key, error in found.items()} == {
        "minimum_cohort": "cohort-too-small",
        "maximum_epsilon": "epsilon-too-large",
    }


def test_the_policy_that_a_charter_needs_allows_it_and_nothing_looser_in_any_key():
    needed = needed_policy(CHARTER)
    check_charter(CHARTER, needed)
    assert refusals(CHARTER, msgspec.structs.replace(needed, maximum_epsilon=3.9)).keys() == {"maximum_epsilon"}
    assert refusals(CHARTER, msgspec.structs.replace(needed, minimum_cohort=5)).keys() == {"minimum_cohort"}


def test_figures_of_a_charter_that_promises_nothing_do_not_become_a_policys():
    """Where a mode is allowed later that promises something, the limits are those that somebody has chosen."""
    charter = make_charter(IDENTITIES, privacy=Privacy(budget=1e300, delta=0.009))
    needed = needed_policy(charter)
    check_charter(charter, needed)
    assert (needed.maximum_epsilon, needed.maximum_delta) == (Policy().maximum_epsilon, Policy().maximum_delta)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_first_policy_of_a_site_allows_its_charter_unless_all_have_one_key(scheme):
    charter = msgspec.structs.replace(CHARTER, scheme=scheme)
    first, needed = first_policy(charter), needed_policy(charter)
    if scheme in SHARED_KEY_SCHEMES:
        assert refusals(charter, first).keys() == {"allowed_schemes"}
        assert first.allowed_schemes == Policy().allowed_schemes
        assert msgspec.structs.replace(first, allowed_schemes=needed.allowed_schemes) == needed
    else:
        assert first == needed


def test_a_scheme_that_is_not_allowed_is_told_before_all_else():
    charter = msgspec.structs.replace(CHARTER, scheme="bfv")
    assert len(refusals(charter, Policy(maximum_epsilon=3.0))) == 3
    assert reason(charter, Policy(maximum_epsilon=3.0)) == "scheme-not-allowed"


def refuses(check, charter, policy) -> bool:
    try:
        check(charter, policy)
    except RefusedError:
        return True
    return False


def test_no_file_means_the_strict_policy(tmp_path):
    assert load_policy(tmp_path / "policy.toml") == Policy()


def test_a_policy_survives_its_file(tmp_path):
    policy = open_policy(CHARTER, minimum_cohort=4, maximum_epsilon=2.5)
    # Some editors put a byte order mark before it.
    for mark in (b"", b"\xef\xbb\xbf"):
        (tmp_path / "policy.toml").write_bytes(mark + render_policy(policy))
        assert load_policy(tmp_path / "policy.toml") == policy


@pytest.mark.parametrize(
    "text",
    [
        b"minimum_cohorts = 2",
        b"[countersigning]",
        b'[countersigning]\nofficers = ["AAAA"]',
        b"[countersigning]\nofficers = []",
        b"minimum_cohort = 1",
        b"minimum_honest = 1",
        b"maximum_epsilon = 0.0",
        b"maximum_epsilon = nan",
        b'maximum_epsilon = "8"',
        b'release_exact_metrics = "yes"',
        b"[",
        b"\xff",
    ],
)
def test_a_file_that_is_no_policy_is_an_error_and_not_a_default(tmp_path, text):
    (tmp_path / "policy.toml").write_bytes(text)
    with pytest.raises(InputError) as caught:
        load_policy(tmp_path / "policy.toml")
    assert caught.value.reason == "malformed-policy"
