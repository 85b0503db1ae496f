"""`secagg audit privacy`: bounds beside the claim; a bound above it, or a control that is missed, is exit code 4."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import msgspec
import pytest

from cli.audit_plot import audit_panels
from cli.audit_privacy import _say, _table
from dp.auditing import Guesses, epsilon_lower_bound
from dp.stated import no_more
from secagg.charter.folder import read_verified
from tests.cli.outcome import TAMPERING, UNUSABLE
from training.auditing.audit import Audit, Bound, privacy_controls
from training.auditing.record import PrivacyRecord, privacy_record

CONTROLS = Path(__file__).parent.parent / "attacks"
SMALL = ("audit", "privacy", "--mode", "local", "--canaries", "400", "--runs", "2")


@pytest.fixture
def without_noise():
    """What stands for this build adds none."""
    with privacy_controls(CONTROLS)["noise-off"].build.in_force():
        yield


def test_bounds_are_shown_beside_the_claim(secagg):
    shown = secagg(*SMALL).shown
    assert "Epsilon at delta 1e-05, local" in shown
    assert "2.17" in shown
    assert "Yes: the runs do not contradict the claim of 2.17." in shown


def test_the_json_holds_every_bound(secagg):
    found = secagg(*SMALL, "--json").json
    assert (found["passed"], found["mode"], found["controls"]) == (True, "local", {})
    assert "charter" not in found
    audit = found["audit"]
    assert audit["within_claim"]
    assert audit["lacks"] is None
    assert [run["canaries"] for run in audit["runs"]] == [400, 400]
    assert audit["together"]["canaries"] == 800
    assert all(run["epsilon"] < audit["claim"] for run in audit["runs"])


def test_a_build_that_adds_less_noise_than_it_claims_is_exit_code_4(secagg, without_noise):
    outcome = secagg(*SMALL)
    assert outcome.code == TAMPERING
    assert "the implementation adds less noise than it claims" in " ".join(outcome.out.split())
    told = secagg(*SMALL, "--json")
    assert told.code == TAMPERING
    assert not json.loads(told.out)["passed"]


def test_one_run_is_not_spoken_of_as_several(secagg):
    shown = secagg(*SMALL[:4], "--canaries", "50", "--runs", "1").shown
    assert "the one run, at" in shown
    assert "Yes: the run does not contradict the claim of 2.17: its bound is below it." in shown
    assert " to " not in shown


def test_an_audit_that_could_not_have_failed_says_so(secagg, finished, tmp_path):
    small = ("audit", "privacy", "--charter", finished / "charter", "--canaries", "50", "--runs", "1")
    shown = secagg(*small).shown
    assert "could not have refuted the claim: with every guess right" in shown
    assert "Yes" not in shown
    told = secagg(*small, "--json")
    (tmp_path / "audit.json").write_text(told.out)
    audit = told.json["audit"]
    assert audit["most"] == epsilon_lower_bound(50, 50, 50, 1e-5, 0.95) < audit["claim"]
    given = ("--audit", tmp_path / "audit.json", "--out", tmp_path / "r.html", "--json")
    outcome = secagg("audit", "report", finished / "hospitals/h1", "--charter", finished / "charter", *given)
    report = json.loads(outcome.out)["report"]
    assert "weak-audit" in {notice["code"] for notice in report["notices"]}
    (state,) = (check["state"] for check in report["checks"] if check["what"] == "Empirical audit")
    assert state == "absent"
    assert "could not be refuted" in (tmp_path / "r.html").read_text()


def test_control_one_that_could_have_says_the_most_that_it_could_show(secagg):
    shown = secagg(*SMALL).shown
    most = no_more(secagg(*SMALL, "--json").json["audit"]["most"], 2)
    assert f"The most that this test could have shown is {most}, with every guess right." in shown
    assert "could not have" not in shown


def test_controls_that_these_runs_cannot_tell_are_exit_code_4(secagg):
    outcome = secagg(*SMALL[:4], "--canaries", "50", "--runs", "1", "--controls", CONTROLS)
    assert outcome.code == TAMPERING
    assert "No: the build without half of the noise should be caught, and was not" in " ".join(outcome.out.split())


def test_what_epsilon_is_at_least_is_rounded_down_and_what_is_claimed_up(capsys):
    low, high = (Bound(Guesses(400, 344, 300), epsilon) for epsilon in (1.019, 2.996))
    record = privacy_record(Audit("local", 2.171, 1e-5, 0.95, (low, high), high), {}, {}, None)
    _say(record)
    assert "epsilon is at least 2.99, with" in (told := capsys.readouterr().out)
    assert "but 2.18 is claimed" in told
    assert [next(iter(column.cells)) for column in _table(record).columns][1:4] == ["2.18", "1.01 to 2.99", "2.99"]
    (panel,) = audit_panels(record)
    assert [line.label for line in panel.lines] == ["each run", "all together: 2.99"]


@pytest.mark.parametrize("suffix", ["svg", "html"])
def test_the_plot_shows_every_bound_and_the_claim_and_needs_nothing_from_elsewhere(secagg, tmp_path, suffix):
    file = tmp_path / f"audit.{suffix}"
    assert secagg(*SMALL, "--plot", file).code == 0
    drawn = file.read_text()
    assert "claimed: 2.17" in drawn
    # A page has it twice: for a wide window, and for a phone.
    assert drawn.count("<circle") == 2 * drawn.count("<svg")
    assert "http" not in drawn.replace("http://www.w3.org/2000/svg", "")
    if suffix == "svg":
        ElementTree.fromstring(drawn)


def test_a_plot_that_cannot_be_written_takes_nothing_from_what_was_found(secagg, tmp_path):
    (tmp_path / "file").touch()
    outcome = secagg(*SMALL, "--plot", tmp_path / "file/audit.svg", "--json")
    assert outcome.code == UNUSABLE
    assert outcome.error["reason"] == "unwritable"
    assert json.loads(outcome.out)["audit"]["claim"] > 0


def test_a_charters_own_terms_are_audited(secagg, finished):
    found = secagg(
        "audit", "privacy", "--charter", finished / "charter", "--canaries", "50", "--runs", "1", "--json"
    ).json
    assert found["mode"] == "local"
    assert found["audit"]["claim"] == pytest.approx(8.0, rel=0.01)
    verified = read_verified(finished / "charter")
    assert msgspec.convert(found, PrivacyRecord).is_of(verified.digest.hex(), "local", verified.charter.privacy.delta)


def test_what_cannot_be_is_refused(secagg, tmp_path):
    secagg("audit", "privacy", "--mode", "local", "--charter", tmp_path).failed(
        UNUSABLE, "usage", "--mode or --charter"
    )
    secagg(*SMALL, "--plot", tmp_path / "audit.png").failed(UNUSABLE, "usage", ".svg")
    secagg(*SMALL, "--controls", tmp_path).failed(UNUSABLE, "no-controls")
    secagg(*SMALL, "--confidence", "1").failed(UNUSABLE, "usage")
