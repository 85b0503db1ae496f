"""A policy that is edited by hand: what is wrong is told by line and key, with what to write."""

from __future__ import annotations

import base64
import sys

import msgspec
import pytest

from secagg.errors import InputError
from secagg.identity import Identity
from secagg.policy import Policy, render_policy
from secagg.policy.model import Countersigning
from secagg.policy.toml import line_of, read_policy

OFFICER = Identity.from_seed(bytes([1] * 32))
OTHER = Identity.from_seed(bytes([2] * 32))
KEY = base64.b64encode(OFFICER.public_key).decode()
WEAK_KEY = base64.b64encode(bytes([1]) + bytes(31)).decode()


@pytest.mark.parametrize(
    ("text", "told", "remedy"),
    [
        ("# mine\nminimum_cohorts = 4", "line 2, minimum_cohorts: there is no such key", "Write minimum_cohort."),
        ("cake = 4", "line 1, cake: there is no such key", "a policy knows known_members"),
        ("\nminimum_cohort = 1", "line 2, minimum_cohort: expected a whole number >= 2", ""),
        ('maximum_epsilon = "8"', "line 1, maximum_epsilon: expected a number, got text in quotation marks", ""),
        ("# Ours.\nmaximum_epsilon = 8,0", "line 2 has a number with a comma", "Write a point: 8.0."),
        ("minimum_cohort = 1,000", "line 1 has a number with a comma", "If thousands are meant, write 1000."),
        ("maximum_epsilon 8", "at line 1", ""),
        (
            'allowed_schemes = ["masks"]',
            "line 1, allowed_schemes: there is no 'masks'",
            "Write mask, double-lock",
        ),
        ('allowed_privacy_modes = ["dp"]', "line 1, allowed_privacy_modes: there is no 'dp'", "Write none, local or"),
        ('release_exact_metrics = "no"', "line 1, release_exact_metrics: there is no 'no'", "Write refuse or allow."),
        ("# Ours.\nminimum_cohort = three", "line 2, minimum_cohort: invalid value", "Write numbers in digits"),
        ("known_members = [\n  ABCD-EFGH,\n]", "line 2, known_members: invalid value", "text in quotation marks"),
        ("cake = three", "Invalid value (at line 1, column 8)", ""),
        ("maximum_epsilon = 8.0\n# Köln", "line 2 is not UTF-8 text", "Save the file as UTF-8."),
        ("known_members = 4", "line 1, known_members: expected a list in brackets, got a whole number", ""),
        ("maximum_epsilon = inf", "line 1, maximum_epsilon: expected a number <=", ""),
        ("maximum_epsilon = nan", "line 1, maximum_epsilon: expected a number >", ""),
        (f"[countersigning]\nofficers = ['{KEY}']", "signatures is 2, more than the number of officers, 1", ""),
        (
            f"known_members = ['{OFFICER.fingerprint}']\n[countersigning]\nofficers = ['{KEY}', '{KEY[:-2]}0=']",
            "has a hospital's key",
            "",
        ),
        (f"[countersigning]\nofficers = ['{KEY}', '{WEAK_KEY}']", "anybody can sign for the officer", ""),
    ],
)
def test_what_is_wrong_is_told_with_its_place_and_its_remedy(tmp_path, text, told, remedy):
    path = tmp_path / "policy.toml"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError) as caught:
        read_policy(path)
    assert told in caught.value.message
    assert remedy in caught.value.remedy
    assert caught.value.culprit == str(path)


def test_a_key_is_found_on_its_line_and_not_in_a_comment():
    text = "# minimum_cohort = 9\nallowed_tasks = [\n]\n minimum_cohort= 3\n[countersigning]\n"
    assert [line_of(text, key) for key in ("minimum_cohort", "countersigning", "maximum_epsilon")] == [4, 5, None]


def test_a_policy_that_names_officers_survives_its_file(tmp_path):
    policy = Policy(countersigning=Countersigning(officers=frozenset({OFFICER.public_key, OTHER.public_key})))
    (tmp_path / "policy.toml").write_bytes(render_policy(policy))
    assert read_policy(tmp_path / "policy.toml") == policy


def test_the_loosest_policy_that_is_read_can_be_remembered_and_read_back(tmp_path):
    (tmp_path / "policy.toml").write_text(f"maximum_epsilon = {sys.float_info.max}\n")
    policy = read_policy(tmp_path / "policy.toml")
    assert msgspec.json.decode(policy.canonical(), type=Policy) == policy


def test_spaces_comments_and_order_do_not_change_what_is_signed(tmp_path):
    (tmp_path / "a.toml").write_text('minimum_cohort = 4\nallowed_schemes = ["mask", "bfv"]\n')
    (tmp_path / "b.toml").write_text('allowed_schemes = ["bfv",\n"mask"] # why\n\nminimum_cohort=4\n')
    (tmp_path / "c.toml").write_text('minimum_cohort = 4\nallowed_schemes = ["mask"]\n')
    first, second, other = (read_policy(tmp_path / f"{name}.toml").canonical() for name in "abc")
    assert first == second != other
