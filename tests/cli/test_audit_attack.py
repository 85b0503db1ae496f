"""`secagg audit attack`: what is refused is shown, and what is not is tampering that is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.outcome import TAMPERING, UNUSABLE
from training.attacks.model import Succeeded
from training.attacks.suite import ATTACKS, Verdict, load_controls

CONTROLS = Path(__file__).parent.parent / "attacks"
TWO = ("--only", "forged-sum", "--only", "late-vector-into-the-sum")


@pytest.fixture
def lying_controls(tmp_path):
    """A folder whose weakened build lacks nothing."""
    (tmp_path / "weakened").mkdir()
    (tmp_path / "weakened" / "__init__.py").write_text(
        "from training.testbed.build import REAL, Control\nCONTROLS = {'forged-sum': Control(REAL, 'nothing')}\n"
    )
    return tmp_path


@pytest.fixture
def withstood(monkeypatch):
    """A build that withstands all attacks, at no cost: tests/attacks performs each of them."""

    def audit(attack, controls=None):
        if controls is None:
            return Verdict(attack, attack.refused, 0.0)
        return Verdict(attack, attack.refused, 0.0, Succeeded(attack.does), controls[attack.name].without)

    monkeypatch.setattr("cli.audit_attack.audit", audit)


def test_the_table_says_who_lies_who_refuses_and_why(secagg):
    shown = secagg("audit", "attack", *TWO).shown
    assert " forged-sum coordinator hospital forged-sum 0." in shown
    assert " late-vector-into-the-sum hospital coordinator unexpected-message 0." in shown
    assert "Yes: 2 of 2 attacks were refused as they should be." in shown
    assert f"--all runs {len(ATTACKS) - 2} more." in shown


def test_the_quick_attacks_are_run_unless_more_is_asked_for(secagg, withstood):
    found = secagg("audit", "attack", "--json").json
    assert [attack["name"] for attack in found["attacks"]] == [attack.name for attack in ATTACKS if attack.quick]
    assert found["withstood"]
    assert found["known"] == len(ATTACKS) > len(found["attacks"]) > 10


def test_with_controls_each_attack_is_seen_to_work_where_the_defence_is_missing(secagg):
    shown = secagg("audit", "attack", *TWO, "--controls", CONTROLS).shown
    assert "succeeds without the check of sums" in shown
    assert "succeeds without stages in turn at the coordinator" in shown
    assert "Yes: 2 of 2 attacks were refused as they should be, and all 2 controls succeed." in shown


def test_the_json_holds_all_that_is_known_of_an_attack(secagg):
    (attack,) = secagg("audit", "attack", *TWO[:2], "--controls", CONTROLS, "--json").json["attacks"]
    assert attack.pop("seconds") > 0
    assert attack == {
        "name": "forged-sum",
        "liar": "coordinator",
        "does": "Changes one number of the sum by one step.",
        "claim": "A forged sum",
        "source": "",
        "refused": True,
        "by": "hospital",
        "reasons": ["forged-sum"],
        "expected": ["forged-sum"],
        "learned": None,
        "control": {
            "without": "the check of sums",
            "succeeded": True,
            "learned": "5 of 5 hospitals took a sum in which one number was changed by one step",
        },
    }


def test_without_controls_none_is_told_of(secagg):
    (attack,) = secagg("audit", "attack", *TWO[:2], "--json").json["attacks"]
    assert attack["control"] is None


def test_an_attack_that_succeeds_is_tampering_and_named(secagg):
    """This build is weakened while the command runs, as a broken installation would be."""
    with load_controls(CONTROLS, ATTACKS)["forged-sum"].build.in_force():
        outcome = secagg("audit", "attack", *TWO)
    assert outcome.code == TAMPERING
    assert "No: forged-sum should be refused for forged-sum, and was not: 5 of 5 hospitals took a sum" in outcome.out
    assert "Yes" not in outcome.out
    assert "nobody" in outcome.out


def test_a_control_that_does_not_succeed_is_named_too(secagg, lying_controls):
    outcome = secagg("audit", "attack", *TWO[:2], "--controls", lying_controls)
    assert outcome.code == TAMPERING
    assert "No: forged-sum should succeed without nothing, and was refused for forged-sum." in outcome.out


def test_json_tells_of_a_failure_and_exits_alike(secagg, lying_controls):
    outcome = secagg("audit", "attack", *TWO[:2], "--controls", lying_controls, "--json")
    assert outcome.code == TAMPERING
    assert '"withstood": false' in outcome.out
    assert outcome.err == ""


def test_an_unknown_name_is_refused_with_those_that_there_are(secagg):
    secagg("audit", "attack", "--only", "magic").failed(UNUSABLE, "unknown-attack", "magic", "--list")
    near = secagg("audit", "attack", "--only", "two-survivor-set")
    near.failed(UNUSABLE, "unknown-attack", "Did you mean two-survivor-sets")


def test_the_list_names_every_attack_and_runs_none(secagg):
    shown = secagg("audit", "attack", "--list").shown
    assert all(attack.name in shown for attack in ATTACKS)
    listed = secagg("audit", "attack", "--list", "--json").json
    assert [(row["name"], row["does"]) for row in listed] == [(attack.name, attack.does) for attack in ATTACKS]
    secagg("audit", "attack", "--list", "--all").failed(UNUSABLE, "usage", "--list runs nothing")


def test_all_and_only_contradict_each_other(secagg):
    secagg("audit", "attack", "--all", "--only", "two-survivor-sets").failed(UNUSABLE, "usage", "--all or --only")


def test_an_attack_that_is_named_twice_is_run_once(secagg):
    twice = secagg("audit", "attack", "--only", "two-survivor-sets", "--only", "two-survivor-sets", "--json").json
    assert len(twice["attacks"]) == 1


def test_a_folder_without_weakened_builds_is_refused(secagg, tmp_path):
    outcome = secagg("audit", "attack", "--controls", tmp_path)
    outcome.failed(UNUSABLE, "no-controls", tmp_path, "are not installed", "tests/attacks")


def test_a_folder_that_lacks_a_control_is_refused_before_anything_runs(secagg, lying_controls):
    outcome = secagg("audit", "attack", *TWO, "--controls", lying_controls)
    outcome.failed(UNUSABLE, "control-missing", lying_controls, "late-vector-into-the-sum")
    assert outcome.out == ""


def test_all_of_them_with_their_controls(secagg, withstood):
    found = secagg("audit", "attack", "--all", "--controls", CONTROLS, "--json").json
    assert [attack["name"] for attack in found["attacks"]] == [attack.name for attack in ATTACKS]
    controls = load_controls(CONTROLS, ATTACKS)
    expected = [(controls[attack.name].without, True, attack.does) for attack in ATTACKS]
    told = [attack["control"] for attack in found["attacks"]]
    assert [(one["without"], one["succeeded"], one["learned"]) for one in told] == expected


def test_the_help_has_an_example(secagg):
    shown = secagg("audit", "attack", "--help").shown
    assert "secagg audit attack --all --controls tests/attacks" in shown
