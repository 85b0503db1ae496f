"""`secagg policy`: a policy is written, edited by hand, checked, and loosened by two officers."""

from __future__ import annotations

import io
import json

import pytest

from tests.cli.conftest import LOCAL_DP
from tests.cli.outcome import INTERRUPTED, REFUSED, TAMPERING, UNUSABLE


@pytest.fixture
def officers(secagg, here):
    """Three officers' public keys, whose private ones are in ``o0.pem`` to ``o2.pem``."""
    return [secagg("identity", "new", f"o{number}.pem", "--json").json["public_key"] for number in range(3)]


@pytest.fixture
def site(secagg, finished, officers):
    """A hospital that has run, whose policy names officers and was put in force."""
    from secagg.latch import Latch
    from secagg.policy import accept_policy, load_policy

    home = finished / "hospitals/h1"
    names = json.dumps(officers)
    text = (home / "policy.toml").read_text()
    (home / "policy.toml").write_text(f"{text}\n[countersigning]\nofficers = {names}\n")
    with Latch(home / "latch.sqlite") as latch:
        accept_policy(latch, load_policy(home / "policy.toml"), home / "policy.toml")
    return home


def loosen(site, text="maximum_epsilon = 12.0"):
    path = site / "policy.toml"
    path.write_text(path.read_text().replace("maximum_epsilon = 8.0", text))


def test_a_new_policy_is_the_strict_one_and_replaces_none(secagg, here):
    assert secagg("policy", "new").code == 0
    assert "maximum_epsilon = 8.0" in (here / "policy.toml").read_text()
    secagg("policy", "new").failed(UNUSABLE, "exists", "policy.toml")


def test_a_policy_made_for_a_charter_allows_it(secagg, drafted):
    assert secagg("policy", "new", "policy.toml", "--charter", "charter", "--epsilon", "9").code == 0
    found = secagg("policy", "check", "policy.toml", "--charter", "charter", "--json").json
    assert found["in_force"]
    assert not [line for line in found["lines"] if line["reason"]]
    assert secagg("charter", "sign", "--identity", "a.pem", "--policy", "policy.toml").code == 0


@pytest.mark.parametrize("scheme", ["bfv", "ckks"])
def test_a_scheme_with_one_key_for_all_is_left_out_of_a_new_policy_until_somebody_writes_its_name(
    secagg, here, members, scheme
):
    drafting = ("charter", "new", "--task", "task.toml", *LOCAL_DP, *members, "--scheme", scheme)
    assert secagg(*drafting).code == 0
    written = secagg("policy", "new", "policy.toml", "--charter", "charter")
    assert written.code == 0
    first, second = written.err.splitlines()
    assert first.startswith(f"Warning: Under the scheme {scheme} all hospitals have one key:")
    assert second.startswith(f"Warning: policy.toml does not allow the scheme {scheme}. If this site agrees")
    refused = secagg("policy", "check", "policy.toml", "--charter", "charter")
    assert (refused.code, "[scheme-not-allowed]" in refused.out) == (REFUSED, True)
    text = (here / "policy.toml").read_text()
    assert 'allowed_schemes = ["double-lock", "mask"]' in text
    (here / "policy.toml").write_text(text.replace('["double-lock", "mask"]', f'["{scheme}"]'))
    allowed = secagg("policy", "check", "policy.toml", "--charter", "charter")
    assert allowed.code == 0
    for outcome in (refused, allowed):
        assert outcome.err == f"{first}\n"
    assert secagg("charter", "sign", "--identity", "a.pem", "--policy", "policy.toml").code == 0


def test_what_is_to_be_told_of_a_charter_is_in_the_json_of_its_policy_too(secagg, here, members):
    drafting = ("charter", "new", "--task", "task.toml", *LOCAL_DP, *members)
    assert secagg(*drafting, "--scheme", "bfv").code == 0
    written = secagg("policy", "new", "policy.toml", "--charter", "charter", "--json").json
    assert [warning["code"] for warning in written["warnings"]] == ["shared-key", "scheme-left-out"]
    checked = secagg("policy", "check", "policy.toml", "--charter", "charter", "--json")
    assert [warning["code"] for warning in json.loads(checked.out)["warnings"]] == ["shared-key"]
    assert secagg("policy", "new", "strict.toml", "--json").json["warnings"] == []
    assert secagg("policy", "check", "strict.toml", "--json").json["warnings"] == []


def test_a_number_of_signatures_without_officers_who_could_sign_is_told_rather_than_ignored(secagg, here):
    outcome = secagg("policy", "new", "policy.toml", "--signatures", "3")
    outcome.failed(UNUSABLE, "usage", "--signatures has no effect without --officer")
    assert not (here / "policy.toml").exists()


@pytest.mark.parametrize("epsilon", ["inf", "nan"])
def test_a_budget_that_is_no_number_is_not_written(secagg, here, epsilon):
    secagg("policy", "new", "policy.toml", "--epsilon", epsilon).failed(UNUSABLE, "usage", "--epsilon", epsilon)
    assert not (here / "policy.toml").exists()


def test_the_line_that_refuses_a_charter_is_named_and_so_is_what_it_needs(secagg, drafted, policy):
    policy.write_text(policy.read_text() + "maximum_epsilon = 3.0\nminimum_cohort = 4\n")
    outcome = secagg("policy", "check", policy, "--charter", "charter", "--json")
    assert outcome.code == REFUSED
    lines = {line["key"]: line for line in json.loads(outcome.out)["lines"]}
    assert {key: line["reason"] for key, line in lines.items() if line["reason"]} == {
        "maximum_epsilon": "epsilon-too-large",
        "minimum_cohort": "cohort-too-small",
    }
    assert (lines["maximum_epsilon"]["line"], lines["maximum_epsilon"]["needs"]) == (2, "8")
    assert lines["maximum_delta"]["line"] is None
    told = secagg("policy", "check", policy, "--charter", "charter").out
    assert "policy.toml, line 2:" in told
    assert "No: this policy refuses the charter in charter." in told


def test_fingerprints_are_never_broken_where_a_charter_is_held_against_a_policy(
    secagg, drafted, policy, keys, monkeypatch
):
    monkeypatch.setattr("cli.policy_view.console.width", 60)
    unknown = keys["c"]["fingerprint"]
    policy.write_text(policy.read_text().replace(unknown, "AAAA-BBBB-CCCC-DDDD-EEEE"))
    lines = secagg("policy", "check", policy, "--charter", "charter").out.splitlines()
    assert f"  {keys['a']['fingerprint']}  needed and known" in lines
    assert f"  {unknown}  needed, and not known here" in lines
    told = json.loads(secagg("policy", "check", policy, "--charter", "charter", "--json").out)
    assert told["members"] == {key["fingerprint"]: key["fingerprint"] != unknown for key in keys.values()}


@pytest.mark.parametrize("width", [30, 60])
def test_nor_where_a_policy_is_shown(secagg, policy, keys, monkeypatch, width):
    monkeypatch.setattr("cli.policy_view.console.width", width)
    shown = secagg("policy", "show", policy).out
    assert all(key["fingerprint"] in shown for key in keys.values())
    assert "allowed_privacy_modes" in shown


def test_a_mistyped_key_is_named_with_its_line_and_the_right_one(secagg, policy):
    policy.write_text("maximum_epsilon = 3.0\nminimum_cohorts = 4\n")
    secagg("policy", "check", policy).failed(UNUSABLE, "malformed-policy", "line 2, minimum_cohorts", "minimum_cohort.")


def test_a_mistyped_path_is_no_policy(secagg, drafted, policy):
    for command in (("check",), ("show",), ("sign", "--identity", "a.pem")):
        secagg("policy", *command, "polcy.toml").failed(UNUSABLE, "unreadable", "polcy.toml")
    signing = ("charter", "sign", "charter", "--identity", "a.pem")
    secagg(*signing, "--policy", "polcy.toml").failed(UNUSABLE, "unreadable", "polcy.toml")
    looking = ("doctor", "--charter", "charter")
    secagg(*looking, "--policy", "polcy.toml").failed(UNUSABLE, "unreadable", "polcy.toml")
    assert secagg(*signing, "--policy", policy).code == 0


def test_a_folder_without_a_policy_is_told_that_the_strict_defaults_stand_in_for_it(secagg, here):
    (here / "site").mkdir()
    stands_in = "There is no file site/policy.toml: the strict defaults apply instead."
    assert secagg("policy", "check", "site").shown == f"{stands_in} Yes: the strict defaults are in force."
    assert stands_in in secagg("policy", "show", "site").shown
    assert secagg("policy", "check", "site", "--json").json["exists"] is False
    assert "There is no file policy.toml" in secagg("policy", "check").shown
    assert secagg("policy", "new").code == 0
    assert secagg("policy", "check").shown == "Yes: policy.toml can be read and is in force."


def test_a_policy_is_compared_with_the_site_s_ledger(secagg, finished):
    home = finished / "hospitals/h1"
    (data_set,) = secagg("policy", "check", home, "--json").json["data_sets"]
    assert data_set["use"]["budget"] == 8
    assert 0 <= data_set["percent"] - 100 * data_set["use"]["epsilon"] / 8 <= 0.1001
    loosen(home, f"maximum_epsilon = {data_set['use']['epsilon'] * 1.5}")
    (alerted,) = secagg("policy", "check", home, "--json").json["data_sets"]
    assert alerted["alert"] == 50
    assert "66.7 % of the privacy budget" in secagg("policy", "check", home).shown


def test_a_raise_by_one_person_is_refused_by_every_command_that_goes_by_a_policy(secagg, site, finished):
    loosen(site)
    outcome = secagg("policy", "check", site)
    assert outcome.code == REFUSED
    assert "Not in force: maximum_epsilon from 8 to 12." in outcome.out
    secagg("budget", "show", site).failed(REFUSED, "policy-loosened", "maximum_epsilon from 8 to 12")
    secagg("simulate", "--resume", finished).failed(REFUSED, "policy-loosened")
    signing = ("charter", "sign", finished / "charter", "--identity", site / "identity.pem")
    secagg(*signing, "--policy", site / "policy.toml").failed(REFUSED, "policy-loosened")


def test_two_officers_put_it_in_force(secagg, site):
    loosen(site)
    first = secagg("policy", "sign", site, "--identity", "o0.pem").shown
    assert first == "To be signed: maximum_epsilon from 8 to 12. Signed. Signatures still missing: 1."
    assert secagg("policy", "check", site).code == REFUSED
    second = secagg("policy", "sign", site, "--identity", "o2.pem").shown
    assert second == "To be signed: maximum_epsilon from 8 to 12. Signed. It is in force."
    assert secagg("policy", "check", site, "--json").json["in_force"]
    assert secagg("budget", "show", site, "--json").json[0]["budget"] == 12


def swap_an_officer(secagg, site, officer):
    """An administrator puts a key of their own in an officer's place, within a raise that the officers asked for."""
    theirs = secagg("identity", "new", "theirs.pem", "--json").json
    loosen(site)
    path = site / "policy.toml"
    path.write_text(path.read_text().replace(officer, theirs["public_key"]))
    return theirs["fingerprint"]


def test_a_key_that_a_raise_puts_in_an_officer_s_place_is_shown_to_who_checks_it(secagg, site, officers):
    theirs = swap_an_officer(secagg, site, officers[1])
    outcome = secagg("policy", "check", site, "--json")
    assert outcome.code == REFUSED
    found = json.loads(outcome.out)
    after = {entry["key"]: entry["after"] for entry in found["loosened"]}["countersigning"]
    assert theirs in after
    assert theirs not in found["officers"]
    assert found["new_officers"] == [theirs]
    told = secagg("policy", "check", site).out
    assert f"New officers, whose fingerprints must be compared first: {theirs}." in told
    assert f"to {after}." in told


def test_and_to_an_officer_before_their_key_is_read(secagg, site, officers):
    theirs = swap_an_officer(secagg, site, officers[1])
    outcome = secagg("policy", "sign", site, "--identity", "no such key.pem")
    outcome.failed(UNUSABLE, "unreadable")
    assert outcome.out.count(theirs) == 2
    shown = secagg("policy", "sign", site, "--identity", "o0.pem").shown
    assert shown.index(theirs) < shown.index("Signed.")


def test_control_where_officers_are_counted_and_not_named_two_sign_the_swap_without_seeing_it(
    secagg, site, officers, monkeypatch
):
    from secagg.policy import acceptance, loosening

    def counted(value):
        return f"{len(value.officers)} officers" if isinstance(value, loosening.Countersigning) else str(value)

    theirs = swap_an_officer(secagg, site, officers[1])
    monkeypatch.setattr(loosening, "shown", counted)
    monkeypatch.setattr(acceptance.Change, "new_officers", frozenset())
    for officer in ("o0.pem", "o2.pem"):
        assert theirs not in secagg("policy", "sign", site, "--identity", officer).shown
    assert theirs in secagg("policy", "show", site, "--json").json["officers"]


class Terminal(io.StringIO):
    """Somebody who answers."""

    def isatty(self):
        return True


@pytest.mark.parametrize(("answer", "missing"), [("n", 2), ("y", 1)])
def test_on_a_terminal_an_officer_is_asked_before_anything_is_signed(secagg, site, monkeypatch, answer, missing):
    loosen(site)
    monkeypatch.setattr("sys.stdin", Terminal(f"{answer}\n"))
    outcome = secagg("policy", "sign", site, "--identity", "o0.pem")
    assert (outcome.code, "Nothing was signed." in outcome.err) == (
        (0, False) if answer == "y" else (INTERRUPTED, True)
    )
    assert json.loads(secagg("policy", "check", site, "--json").out)["missing"] == missing


def start(site):
    """What a site does with its policy when it starts."""
    from secagg.latch import Latch
    from secagg.policy import accept_policy, load_policy

    with Latch(site / "latch.sqlite") as latch:
        accept_policy(latch, load_policy(site / "policy.toml"), site / "policy.toml")


def test_what_two_have_signed_and_is_taken_back_before_any_start_needs_two_again(secagg, site):
    strict = (site / "policy.toml").read_bytes()
    loosen(site)
    for officer in ("o0.pem", "o2.pem"):
        assert secagg("policy", "sign", site, "--identity", officer).code == 0
    saved = {name: (site / name).read_bytes() for name in ("policy.toml", "policy.signatures.json")}
    (site / "policy.toml").write_bytes(strict)
    start(site)
    for name, content in saved.items():
        (site / name).write_bytes(content)
    secagg("budget", "show", site).failed(REFUSED, "policy-loosened", "missing: 2")


def test_while_the_site_runs_it_is_said_that_what_was_signed_is_in_force_at_its_next_start(secagg, site):
    from secagg.latch import Latch

    loosen(site)
    before = secagg("policy", "show", site, "--json").json["head"]
    assert secagg("policy", "sign", site, "--identity", "o0.pem").code == 0
    with Latch(site / "latch.sqlite"):
        told = secagg("policy", "sign", site, "--identity", "o2.pem").shown
    assert "It comes into force at the site's next start. It stays signed until another change is accepted" in told
    assert "It is in force" not in told
    shown = secagg("policy", "check", site).shown
    assert "It comes into force at the site's next start" in shown
    found = secagg("policy", "show", site, "--json").json
    assert (found["in_force"], found["head"], len(found["loosened"])) == (True, before, 1)
    start(site)
    found = secagg("policy", "show", site, "--json").json
    assert (found["in_force"], found["loosened"]) == (True, [])
    assert found["head"] != before
    assert "It will be" not in secagg("policy", "check", site).shown


def test_the_hospital_s_own_key_is_no_officer_s(secagg, site):
    loosen(site)
    secagg("policy", "sign", site, "--identity", site / "identity.pem").failed(REFUSED, "not-an-officer")


def test_the_officers_and_the_head_to_note_are_shown(secagg, site, officers):
    found = secagg("policy", "show", site, "--json").json
    assert (len(found["officers"]), found["signatures"], found["missing"]) == (3, 2, 0)
    assert found["head"] in secagg("policy", "show", site).shown
    assert secagg("policy", "check", site, "--noted", found["head"]).code == 0


def test_a_memory_that_was_taken_away_is_found_by_who_noted_its_head(secagg, site):
    head = secagg("policy", "show", site, "--json").json["head"]
    for file in site.glob("latch.sqlite*"):
        file.unlink()
    secagg("policy", "check", site, "--noted", head).failed(TAMPERING, "policy-memory-set-back")


@pytest.mark.parametrize("slip", ["", "4", "head", "g" * 64, "HEAD[:63]"])
def test_a_head_that_is_none_is_told_as_that_and_not_as_tampering(secagg, site, slip):
    """Nor is the beginning of one enough: there are few of one character."""
    head = secagg("policy", "show", site, "--json").json["head"]
    noted = head[:63] if slip == "HEAD[:63]" else slip
    secagg("policy", "check", site, "--noted", noted).failed(UNUSABLE, "bad-head", "all 64 characters")
    assert secagg("policy", "check", site, "--noted", f" {head.upper()}\n").code == 0


def test_one_officer_cannot_be_two(secagg, here, officers):
    one = ("--officer", officers[0])
    secagg("policy", "new", "p.toml", *one, *one).failed(UNUSABLE, "officers-cannot-sign", "signatures is 2")
    secagg("policy", "new", "p.toml", "--officer", "x").failed(UNUSABLE, "bad-public-key")
    assert not (here / "p.toml").exists()
